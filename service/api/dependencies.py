"""What several routes ask for."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request

from service.access.keys import Caller
from service.problems import NOT_FOUND, NOT_READY, ServiceError
from service.runtime import Service
from service.storage.store import StoredRecord

T = TypeVar("T")

_ID = re.compile("[0-9a-f]{32}")


async def get_service(request: Request) -> Service:
    """The running service. Raises the 503 of an app that was not started.

    Asynchronous, because everything else would wait for a thread of a pool that others may hold.
    """
    service: Service | None = getattr(request.app.state, "service", None)
    if service is None:
        raise ServiceError(NOT_READY, "not ready: the service was not started; try again later")
    return service


ServiceDep = Annotated[Service, Depends(get_service)]


class ClientGone(Exception):  # noqa: N818 - nobody is there to be told
    """The client left before its answer was ready."""


async def unless_client_leaves(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``, which is cancelled when the client disconnects. The body must have been read.

    Raises :class:`ClientGone`, or what ``work`` raises.
    """

    async def disconnected() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    task, watcher = asyncio.ensure_future(work), asyncio.ensure_future(disconnected())
    try:
        try:
            await asyncio.wait({task, watcher}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if not task.done():  # what is ready in the very moment is given: it is written down as answered
                raise
        if task.done():
            return task.result()
        raise ClientGone
    finally:
        watcher.cancel()
        task.cancel()


async def find_record(service: Service, caller: Caller, id: str, *, what: str) -> StoredRecord:
    """The caller's record called ``id``; that it was asked for (``what``) is in the audit log.

    Raises the 404 that does not tell unknown from expired or somebody else's, and the 503 of a service that is not
    trusted: who knows since when its answers have been wrong.
    """
    service.require_ready()
    record = await service.in_worker(lambda: service.records.get(id, caller.name)) if is_id(id) else None
    await note_access(service, caller, what, id, "not-found" if record is None else "done")
    if record is None:
        raise unknown_prediction()
    return record


async def note_access(service: Service, caller: Caller, what: str, id: str, outcome: str) -> None:
    """Write down that a prediction was asked for. What is no id of ours could say anything, and is not repeated."""
    named = {"id": id} if is_id(id) else {}
    await service.audit.record(what, by=caller.name, **named, outcome=outcome)


def is_id(text: str) -> bool:
    """Whether it could be one of our ids: 128 bits in hexadecimal."""
    return _ID.fullmatch(text) is not None


def unknown_prediction() -> ServiceError:
    """The error for an id that names nothing."""
    return ServiceError(NOT_FOUND, "no such prediction; it may have expired or been deleted. Send the picture again")
