"""What a job is, as Redis keeps it and as clients see it."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from service.ledger.entries import FollowUp
from service.prediction.schemas import BatchAnswer, Body, OperatingPointName
from service.settings import ANSWER_BYTES

Handler = Callable[..., Coroutine[Any, Any, None]]

# What may be queued: of a job and an index, and of a job.
ANSWER, ANNOUNCE = "answer", "announce"
# One hash tag, so that a cluster keeps all keys on one node, where they can change together.
PREFIX = "cin:{jobs}"

State = Literal["waiting", "running", "done"]
Notified = Literal["waiting", "delivered", "given_up"]


class JobsError(RuntimeError):
    """The jobs' Redis cannot be used; the text says what to change."""


class JobsFull(JobsError):  # noqa: N818 - named for the state
    """There is no room for another job; the text says whose room it is."""


class Item(BaseModel):
    """What comes with an image of a job: the client's own name for it, and which lesion it shows."""

    model_config = ConfigDict(frozen=True)

    reference: str | None = None
    follow_up: FollowUp | None = None


class NewJob(NamedTuple):
    """A job that is being sent: whose it is, its operating point, and where its end is announced."""

    id: str
    owner: str
    client: str
    operating_point: str
    items: list[Item]
    num_bytes: int
    webhook_url: str | None

    @property
    def counted_bytes(self) -> int:
        """What it may take in Redis, with its answers."""
        return self.num_bytes + ANSWER_BYTES * len(self.items)

    def job(self, created: int, ttl_seconds: float) -> Job:
        """As it is kept from then on."""
        return Job(
            id=self.id,
            owner=self.owner,
            operating_point=self.operating_point,
            pictures=len(self.items),
            created=created,
            expires=created + round(ttl_seconds * 1000),
            webhook_url=self.webhook_url,
            notified=None if self.webhook_url is None else "waiting",
        )


class Job(BaseModel):
    """A job in Redis, without its images and answers. Times are in milliseconds since 1970."""

    model_config = ConfigDict(frozen=True)

    id: str
    owner: str
    operating_point: str
    pictures: int
    created: int
    expires: int
    begun: bool = False
    answered: int = 0
    failed: int = 0
    ended: int | None = None
    webhook_url: str | None = None
    notified: Notified | None = None
    announcements: int = 0  # that were in vain

    @property
    def client(self) -> str:
        """Whose key it was."""
        return self.owner.partition(":")[0]

    def status(self) -> JobStatus:
        """What its client sees."""
        state: State = "done" if self.answered == self.pictures else "running" if self.begun else "waiting"
        return JobStatus(
            id=self.id,
            state=state,
            pictures=self.pictures,
            answered=self.answered,
            failed=self.failed,
            operating_point=self.operating_point,
            created_at=_time(self.created),
            ended_at=None if self.ended is None else _time(self.ended),
            expires_at=_time(self.expires),
            webhook=self.notified,
            results=f"/v1/jobs/{self.id}/results",
        )


class JobStatus(Body):
    """How far a job is."""

    id: str = Field(pattern="^[0-9a-f]{32}$", description="names the job in addresses")
    state: State = Field(description="`done`: every image has its answer or its problem")
    pictures: int = Field(ge=1, description="as many as were sent")
    answered: int = Field(ge=0, description="images with an answer or a problem")
    failed: int = Field(ge=0, description="those of them with a problem")
    operating_point: OperatingPointName = Field(description="of every image")
    created_at: datetime = Field(description="UTC")
    ended_at: datetime | None = Field(description="UTC; null until it is done")
    expires_at: datetime = Field(description="UTC; deleted from then on with its answers, and with what still waits")
    webhook: Notified | None = Field(description="whether its end was announced; null: no `webhook_url` came with it")
    results: str = Field(description="the address of its answers")


class JobResult(BatchAnswer):
    """The result of one image of a job: what a batch says of it, and which image it is."""

    index: int = Field(ge=0, description="of the image in the job, from 0")

    @staticmethod
    def to_json(index: int, item: Item, *, prediction: str = "null", problem: str = "null") -> str:
        """The JSON of one, from a prediction or a problem that is serialised already."""
        reference = json.dumps(item.reference)
        return f'{{"reference":{reference},"prediction":{prediction},"problem":{problem},"index":{index}}}'


class JobResults(Body):
    """A page of a job's results."""

    results: list[JobResult] = Field(description="in order of completion, or of the images")
    next: str | None = Field(
        description="the address of the next page; ask there again later while the job is not done. null: these were "
        "the last"
    )


@dataclass(frozen=True)
class Picture:
    """An image of a job that has no result, without its bytes."""

    job: str
    index: int
    tries: int  # that began and did not end, each in a process that was killed or stood still
    delays: int  # tries that were put off
    owner: str
    operating_point: str
    item: Item


class Begun(NamedTuple):
    """The bytes of an image that an attempt holds, and the attempts that held it before and may have left something."""

    image: bytes
    before: set[str]


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
