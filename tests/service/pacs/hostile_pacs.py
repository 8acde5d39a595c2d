"""A PACS that answers whatever a test wants, byte for byte."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from itertools import chain, repeat

# What is sent for one request, piece by piece; None is a pause.
Script = Iterable[bytes | None]


def answer(
    body: bytes = b"", status: str = "200 OK", content_type: str = "application/dicom+json", **headers: str
) -> bytes:
    """One whole answer."""
    told = {"Content-Type": content_type, "Content-Length": str(len(body)), **headers}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in told.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


def endless(start: bytes, piece: bytes, content_type: str) -> Script:
    """An answer whose body does not end."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    return chain([head], (b"%x\r\n%s\r\n" % (len(each), each) for each in chain([start], repeat(piece))))


class HostilePacs:
    """``requests`` are the heads of those that came; ``num_bytes`` were sent, as far as they were taken."""

    def __init__(self, respond: Callable[[str], Script]) -> None:
        self.respond, self.requests, self.num_bytes, self.url = respond, list[str](), 0, ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                self.requests.append(head)
                for piece in self.respond(head.split(" ", 2)[1]):
                    if piece is None:
                        await asyncio.sleep(0.02)
                        continue
                    writer.write(piece)
                    await writer.drain()
                    self.num_bytes += len(piece)
        writer.close()


@asynccontextmanager
async def hostile(respond: Callable[[str], Script], tls: ssl.SSLContext | None = None) -> AsyncIterator[HostilePacs]:
    """Listens on a free port; ``respond`` gets the path of a request."""
    pacs = HostilePacs(respond)
    server = await asyncio.start_server(pacs.serve, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    pacs.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{port}/dicom-web"
    try:
        yield pacs
    finally:
        server.close()
