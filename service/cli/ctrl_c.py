"""Ctrl-C: the first stops a command in order, the second ends the process at once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

_T = TypeVar("_T")


@contextmanager
def interruptible(stop: Callable[[], object]) -> Iterator[None]:
    """Within, the first Ctrl-C calls ``stop`` in the main thread, wherever that is.

    The second one is the system's: it needs neither an idle interpreter nor a thread that returns, and lets no native
    library fail while it is unloaded. Nothing is changed where Ctrl-C is ignored, as in a shell's background.
    """

    def first(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        stop()

    before = signal.getsignal(signal.SIGINT)
    if before in (signal.SIG_IGN, None):
        yield
        return
    try:
        signal.signal(signal.SIGINT, first)
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is first:
            signal.signal(signal.SIGINT, before)


def interrupt() -> None:
    """Raises ``KeyboardInterrupt``."""
    raise KeyboardInterrupt


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """Run ``work`` on an event loop of its own.

    Ctrl-C cancels it; raised at any place of the loop, an interrupt could be lost. Raises ``KeyboardInterrupt`` then.
    """

    async def cancellable() -> _T:
        task, loop = asyncio.ensure_future(work), asyncio.get_running_loop()

        def cancel() -> None:
            task.cancel()
            loop.call_soon_threadsafe(lambda: None)  # wakes the loop

        with interruptible(cancel):
            return await task

    try:
        return asyncio.run(cancellable())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
