"""A lingering close: the client can read the answer before the connection ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any


class LingeringTransport:
    """A transport that first closes only its sending side while the client may still send; it can also pause a client.

    The system resets a connection that is closed with unread input, and the reset discards the answer at the client.
    So ``close`` sends the end of the stream and keeps reading; the protocol discards what arrives until the client
    closes, or until it calls ``end`` or ``abort``. Everything else is passed to the transport.
    """

    def __init__(self, transport: asyncio.Transport, may_still_send: Callable[[], bool]) -> None:
        self._transport, self._may_still_send = transport, may_still_send
        self.lingers = self.holds = False
        self._reads = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """Whether the sending side is closed."""
        return self.lingers or self._transport.is_closing()

    def hold(self) -> None:
        """Read nothing until :meth:`release`, even after :meth:`resume_reading`."""
        self.holds = True
        self._transport.pause_reading()

    def release(self) -> None:
        """End a hold."""
        self.holds = False
        if self._reads:
            self._transport.resume_reading()

    def pause_reading(self) -> None:
        """See :class:`asyncio.ReadTransport`."""
        self._reads = False
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """See :class:`asyncio.ReadTransport`."""
        self._reads = True
        if not self.holds:
            self._transport.resume_reading()

    def close(self) -> None:
        """Close after the answer; at once if the client has sent everything."""
        if self.is_closing():
            return
        if not (self._may_still_send() and self._transport.can_write_eof()):
            self._transport.close()
            return
        self.lingers = True
        self.resume_reading()
        self._transport.write_eof()

    def end(self) -> None:
        """End the lingering at once."""
        self._transport.close()
