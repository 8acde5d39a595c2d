"""What routes ask for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from fastapi import Depends, Request

from service.errors import NOT_FOUND, ServiceError
from service.records import Record

if TYPE_CHECKING:
    from service.app import Service

T = TypeVar("T")


def get_service(request: Request) -> Service:
    """The app's object graph."""
    service: Service = request.app.state.service
    return service


ServiceDep = Annotated[Any, Depends(get_service)]


async def in_worker(service: Service, function: Callable[[], T]) -> T:
    """Run something that blocks on the pool for decoding, drawing and records."""
    return await asyncio.get_running_loop().run_in_executor(service.workers, function)


class ClientGone(Exception):  # noqa: N818 - nobody is there to be told
    """The client left before its answer was ready."""


async def unless_client_leaves(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``, which is cancelled when the client disconnects. The body must have been read."""

    async def disconnected() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    task, watcher = asyncio.ensure_future(work), asyncio.ensure_future(disconnected())
    try:
        await asyncio.wait({task, watcher}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientGone
    finally:
        watcher.cancel()
        task.cancel()


async def find_record(service: Service, id: str) -> Record:
    """The record called ``id``. Raises the 404 that does not tell unknown from expired."""
    record = await in_worker(service, lambda: service.records.get(id)) if is_id(id) else None
    if record is None:
        raise unknown_prediction()
    return record


def is_id(text: str) -> bool:
    """Whether it could be one of our ids: 128 bits in hexadecimal."""
    return len(text) == 32 and set(text) <= set("0123456789abcdef")


def unknown_prediction() -> ServiceError:
    """The error for an id that names nothing."""
    return ServiceError(NOT_FOUND, "no such prediction; it may have expired or been deleted. Send the picture again")
