"""What a job is, as Redis keeps it and as clients see it."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from service.jobs.dicomweb import DicomwebQuery, InstanceUids
from service.ledger.entries import FollowUp
from service.prediction.schemas import BatchAnswer, Body, OperatingPointName
from service.problems import Problem
from service.settings import ANSWER_BYTES

Handler = Callable[..., Coroutine[Any, Any, None]]

# What may be queued: of a job and an index, and of a job.
ANSWER, LIST, ANNOUNCE = "answer", "list", "announce"
# One hash tag, so that a cluster keeps all keys on one node, where they can change together.
PREFIX = "cin:{jobs}"

State = Literal["waiting", "running", "done"]
Notified = Literal["waiting", "delivered", "given_up"]


class JobsError(RuntimeError):
    """The jobs' Redis cannot be used; the text says what to change."""


class JobsFull(JobsError):  # noqa: N818 - named for the state
    """There is no room for another job; the text says whose room it is."""


class Item(BaseModel):
    """What comes with an image of a job: the client's own name for it, which lesion it shows, and where it is on a
    DICOMweb server."""

    model_config = ConfigDict(frozen=True)

    reference: str | None = None
    follow_up: FollowUp | None = None
    instance: InstanceUids | None = None


class NewJob(NamedTuple):
    """A job that is being sent: whose it is, its operating point, where its end is announced, and a query in the place
    of images, with the most that it may find."""

    id: str
    owner: str
    client: str
    operating_point: str
    items: list[Item]
    num_bytes: int
    webhook_url: str | None
    query: DicomwebQuery | None = None
    most: int = 0

    @property
    def counted_bytes(self) -> int:
        """What it may take in Redis, with its answers."""
        return self.num_bytes + ANSWER_BYTES * max(self.most, len(self.items))

    def job(self, created: int, ttl_seconds: float) -> Job:
        """As it is kept from then on."""
        return Job(
            id=self.id,
            owner=self.owner,
            operating_point=self.operating_point,
            pictures=max(self.most, len(self.items)),
            listed=self.query is None,
            query=None if self.query is None else self.query.model_dump_json(exclude_none=True),
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
    pictures: int  # until they are listed: the most there may be
    created: int
    expires: int
    query: str | None = None  # as JSON; None: the images were sent
    listed: bool = True
    listings: int = 0  # that were in vain
    problem: str | None = None  # as JSON: why the images could not be listed
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

    @property
    def asked(self) -> DicomwebQuery | None:
        """Its query."""
        return None if self.query is None else DicomwebQuery.model_validate_json(self.query)

    @property
    def server(self) -> str | None:
        """The DICOMweb server that has its images."""
        return None if self.asked is None else self.asked.server

    def fields(self) -> dict[Any, Any]:
        """What Redis keeps of a new job, in a hash."""
        return self.model_dump(exclude_none=True, exclude={"id", "begun"}) | {"listed": int(self.listed)}

    def status(self) -> JobStatus:
        """What its client sees."""
        state: State = "done" if self.answered == self.pictures else "running" if self.begun else "waiting"
        return JobStatus(
            id=self.id,
            state=state,
            pictures=self.pictures if self.listed else None,
            answered=self.answered,
            failed=self.failed,
            operating_point=self.operating_point,
            created_at=_time(self.created),
            ended_at=None if self.ended is None else _time(self.ended),
            expires_at=_time(self.expires),
            webhook=self.notified,
            problem=None if self.problem is None else Problem.model_validate_json(self.problem),
            results=f"/v1/jobs/{self.id}/results",
        )


class JobStatus(Body):
    """How far a job is."""

    id: str = Field(pattern="^[0-9a-f]{32}$", description="names the job in addresses")
    state: State = Field(description="`done`: every image has its answer or its problem")
    pictures: int | None = Field(
        ge=0, description="as many as were sent, or as a query found; null: it was not answered yet"
    )
    answered: int = Field(ge=0, description="images with an answer or a problem")
    failed: int = Field(ge=0, description="those of them with a problem")
    operating_point: OperatingPointName = Field(description="of every image")
    created_at: datetime = Field(description="UTC")
    ended_at: datetime | None = Field(description="UTC; null until it is done")
    expires_at: datetime = Field(description="UTC; deleted from then on with its answers, and with what still waits")
    webhook: Notified | None = Field(description="whether its end was announced; null: no `webhook_url` came with it")
    results: str = Field(description="the address of its answers")
    problem: Problem | None = Field(None, description="why a query could not be answered; the job has no images then")


class JobResult(BatchAnswer):
    """The result of one image of a job: what a batch says of it, and which image it is."""

    index: int = Field(ge=0, description="of the image in the job, from 0")
    instance: InstanceUids | None = Field(None, description="of a job with a query: which image; null: it was sent")

    @staticmethod
    def to_json(index: int, item: Item, *, prediction: str = "null", problem: str = "null") -> str:
        """The JSON of one, from a prediction or a problem that is serialised already."""
        reference, instance = json.dumps(item.reference), item.model_dump_json(include={"instance"})[1:-1]
        said = f'"prediction":{prediction},"problem":{problem},"index":{index},{instance}'
        return f'{{"reference":{reference},{said}}}'


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
    server: str | None = None  # that has it; None: its bytes were sent


class Begun(NamedTuple):
    """The bytes that were sent of an image that an attempt holds, none where a server has them, and the attempts that
    held it before and may have left something."""

    image: bytes
    before: set[str]


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
