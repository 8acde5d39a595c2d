"""Where Redis has what of a job."""

from __future__ import annotations

from typing import Any, NamedTuple

from service.jobs.job import PREFIX, Job

# Beside these, an image and its attempts have a key each.
PARTS = ("job", "items", "results", "order")

# Before an attempt that was put off: it rolled itself back, and holds the image no longer.
_PUT_OFF = "-"


class Attempts(NamedTuple):
    """The attempts at an image without a result: those that began and did not end, and those that were put off."""

    begun: set[str]
    put_off: set[str]


def key(id: str, part: str, index: int | None = None) -> str:
    """The name of a part of a job, or of its image at ``index``."""
    return f"{PREFIX}:{id}:{part}" if index is None else f"{PREFIX}:{id}:{part}:{index}"


def read_job(client: Any, id: str) -> Job | None:
    """The job, None for one that is not there."""
    fields = {name.decode(): value.decode() for name, value in client.hgetall(key(id, "job")).items()}
    return Job.model_validate({"id": id, **fields}) if fields else None


def as_put_off(attempt: str) -> str:
    """How an attempt is entered once it is put off."""
    return _PUT_OFF + attempt


def attempts_in(entries: list[bytes]) -> Attempts:
    """From the list of an image, where each stands once or, after a reply that was lost, several times."""
    names = {each.decode() for each in entries}
    put_off = {each.removeprefix(_PUT_OFF) for each in names if each.startswith(_PUT_OFF)}
    return Attempts({each for each in names if not each.startswith(_PUT_OFF)} - put_off, put_off)
