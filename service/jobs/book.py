"""The book of all jobs: whose budget each takes, how much of it, and until when."""

from __future__ import annotations

import time
from typing import Any, Generic, NamedTuple, TypeVar

from pydantic import BaseModel
from redis.client import Pipeline

from service.jobs.job import PREFIX, Job, JobsFull, NewJob

T = TypeVar("T")

BOOK = f"{PREFIX}:book"
# It is read as a whole.
MOST_JOBS = 1000


class Counts(NamedTuple, Generic[T]):
    """What is kept now, or a gauge for each: jobs, images without a result, bytes, the seconds that the oldest image
    has waited, and the seconds since one was begun while any waits."""

    jobs: T
    pictures: T
    bytes: T
    oldest_seconds: T
    idle_seconds: T


class Booked(BaseModel):
    """A job in the book."""

    client: str
    bytes: int
    expires: int


def now() -> int:
    """Milliseconds since 1970."""
    return round(time.time() * 1000)


def read_book(client: Any) -> dict[str, Booked]:
    """All jobs but those that expired, of which Redis itself erased the rest."""
    return split_book(client)[0]


def split_book(client: Any) -> tuple[dict[str, Booked], set[str]]:
    """All jobs but those that expired, and the ids of these, at one moment: a job that is new is neither missing in the
    first nor taken for one of the second."""
    book = {id.decode(): Booked.model_validate_json(text) for id, text in client.hgetall(BOOK).items()}
    moment = now()
    alive = {id: booked for id, booked in book.items() if booked.expires > moment}
    return alive, book.keys() - alive.keys()


def enter(pipe: Pipeline, job: Job, num_bytes: int) -> None:
    """Enter a job, or change what it takes."""
    pipe.hset(BOOK, job.id, Booked(client=job.client, bytes=num_bytes, expires=job.expires).model_dump_json())


def require_room(client: Any, new: NewJob, max_bytes: int, share: float) -> None:
    """Raises :class:`JobsFull` for a job for which all clients, or its own with its ``share`` of bytes and jobs,
    leave no room."""
    booked = read_book(client).values()
    own = [each for each in booked if each.client == new.client]
    for whose, those, part in (("all clients", booked, 1.0), ("this client", own, share)):
        num_bytes = sum(each.bytes for each in those) + new.counted_bytes
        if num_bytes > max_bytes * part or len(those) >= MOST_JOBS * part:
            raise JobsFull(f"the jobs of {whose} leave no room for this one")
