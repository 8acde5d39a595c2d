"""The HTTP/1.1 parser: h11, which here rejects whatever servers and proxies interpret differently."""

from __future__ import annotations

import re

import h11

# A chunk costs the parser as much as many bytes, so the number of chunks is limited by the size of the body.
_FREE_CHUNKS = 32
_BYTES_PER_CHUNK = 512

# Valid addresses have less than a quarter of this, and parsing a query costs more than parsing the head.
MAX_TARGET_BYTES = 2048

# Browsers and proxies send some thirty. Each takes the parser microseconds, before anything is known of the client.
MAX_HEADERS = 100

_END_OF_HEAD = re.compile(rb"\n\r?\n")
_WHOLE_ADDRESS = re.compile(rb"https?://(?P<host>[^/?#]+)(?P<path>/.*)")
_HOST = re.compile(rb"[A-Za-z0-9._~%!$&'()*+;=:@\[\]-]*")
# Control characters in a path: a pattern that ends with $ accepts a line break, an exact comparison does not.
_CONTROLS = re.compile(rb"[^?#]*%(?:[01][0-9A-Fa-f]|7[Ff])")
_WISHES = frozenset({b"upgrade", b"http2-settings"})


class StrictConnection(h11.Connection):
    """The server's side of one connection.

    Heads of more than ``max_head_bytes`` or ``MAX_HEADERS``, addresses of more than ``MAX_TARGET_BYTES``, control
    characters in paths, and requests with an ambiguous length are errors. Upgrade headers are removed (RFC 9110 section
    7.8). An answer sent before the end of its request carries ``Connection: close``.
    """

    def __init__(self, max_head_bytes: int) -> None:
        super().__init__(h11.SERVER, max_incomplete_event_size=max_head_bytes)
        self._max_head_bytes = max_head_bytes
        self._num_chunks = self._num_bytes = 0

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """See :meth:`h11.Connection.next_event`."""
        if self.their_state is h11.IDLE:
            self._check_number_of_headers()
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._num_chunks = self._num_bytes = 0
            self._check(event)
            return _simplified(event)
        if isinstance(event, h11.Data):
            self._num_chunks += event.chunk_start
            self._num_bytes += len(event.data)
            if self._num_chunks > _FREE_CHUNKS + self._num_bytes // _BYTES_PER_CHUNK:
                raise h11.RemoteProtocolError("too many small chunks")
        return event

    def _check_number_of_headers(self) -> None:
        """Count the lines of a head before it is parsed."""
        received, _ = self.trailing_data
        end = _END_OF_HEAD.search(received)
        if received.count(b"\n", 0, end.start() if end else len(received)) > MAX_HEADERS:
            raise h11.RemoteProtocolError("too many headers", error_status_hint=431)

    def _check(self, request: h11.Request) -> None:
        size = len(request.method) + len(request.target) + sum(len(n) + len(v) + 4 for n, v in request.headers)
        if size > self._max_head_bytes or len(request.target) > MAX_TARGET_BYTES:
            raise h11.RemoteProtocolError("head too large", error_status_hint=431)
        if request.http_version not in (b"1.0", b"1.1"):
            raise h11.RemoteProtocolError("another version", error_status_hint=505)
        if _CONTROLS.match(request.target):
            raise h11.RemoteProtocolError("control characters in the path")
        names = {name for name, _ in request.headers}
        if b"transfer-encoding" in names and (b"content-length" in names or request.http_version == b"1.0"):
            raise h11.RemoteProtocolError("two lengths")
        if not all(_HOST.fullmatch(value) for name, value in request.headers if name == b"host"):
            raise h11.RemoteProtocolError("no host, or several")

    def send(self, event: h11.Event) -> bytes | None:  # type: ignore[override]
        """See :meth:`h11.Connection.send`."""
        if isinstance(event, h11.Response) and self.their_state is h11.SEND_BODY:
            headers = [*event.headers, (b"connection", b"close")]
            event = h11.Response(status_code=event.status_code, headers=headers, reason=event.reason)
        return super().send(event)


def _simplified(request: h11.Request) -> h11.Request:
    """Without upgrade headers, and with a path as its target."""
    headers = [(name, value) for name, value in request.headers if name not in _WISHES]
    target = request.target
    if not target.startswith(b"/"):
        # A whole URL, as clients of proxies send it (RFC 9112 section 3.2.2).
        parts = _WHOLE_ADDRESS.fullmatch(target)
        if parts is None or (b"host", parts["host"]) not in headers:
            raise h11.RemoteProtocolError("no path, or that of another host")
        target = parts["path"]
    elif len(headers) == len(request.headers):
        return request
    return h11.Request(method=request.method, target=target, headers=headers, http_version=request.http_version)
