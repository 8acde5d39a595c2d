"""A PACS in memory, for what takes too long with a real one."""

from __future__ import annotations

import email
import json
from collections.abc import Callable, Iterable, Sequence

import httpx

from service.pacs.client import Instance, Pacs
from service.pacs.multipart import joined

DERMOSCOPY = "1.2.840.10008.5.1.4.1.1.77.1.7"
# An answer in place of its own, by method and path.
Instead = Callable[[str, str], httpx.Response | None]


def nothing_else(_method: str, _path: str) -> None:
    """Its own answers."""


def response(body: bytes, content_type: str = "application/dicom+json") -> httpx.Response:
    """An answer that can be read piece by piece."""
    return httpx.Response(200, headers={"Content-Type": content_type}, stream=httpx.ByteStream(body))


class MemoryPacs:
    """Images by their identifiers, and how often each result was stored; a result is the file ``b"<UID>"``."""

    def __init__(self, uids: Iterable[str], sop_class: str = DERMOSCOPY) -> None:
        self.images = dict.fromkeys(uids, sop_class)
        self.stored: dict[str, int] = {}
        self.asked: list[str] = []
        self.instead: Instead = nothing_else

    def client(self) -> Pacs:
        transport = httpx.MockTransport(self._answer)
        return Pacs("http://pacs/dicom-web", max_file_bytes=10**6, timeout_seconds=5, transport=transport)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        path, query = request.url.path.removeprefix("/dicom-web"), request.url.params
        self.asked.append(f"{request.method} {path}")
        if (instead := self.instead(request.method, path)) is not None:
            return instead
        if request.method == "POST":
            message = b"Content-Type: " + request.headers["Content-Type"].encode() + b"\r\n\r\n" + request.content
            for part in email.message_from_bytes(message).walk():
                if part.get_content_type() == "application/dicom":
                    uid = bytes(part.get_payload(decode=True) or b"").decode()
                    self.stored[uid] = self.stored.get(uid, 0) + 1
            return response(b"{}")
        if path == "/instances":
            first, num = int(query["offset"]), int(query["limit"])
            return listed(list(self.images)[first : first + num], self.images.values())
        if "SOPInstanceUID" in query:
            return listed([uid for uid in query["SOPInstanceUID"].split(",") if uid in self.stored], [DERMOSCOPY])
        content_type, body = joined([path.rpartition("/")[2].encode()])
        return response(body, content_type)


def listed(uids: Sequence[str], sop_classes: Iterable[str]) -> httpx.Response:
    """The answer to a search."""
    kind = next(iter(sop_classes), DERMOSCOPY)
    tags = ("0020000D", "0020000E", "00080018", "00080016")
    values = [("2.25.1", "2.25.2", uid, kind) for uid in uids]
    items = [{tag: {"Value": [value]} for tag, value in zip(tags, each, strict=True)} for each in values]
    return response(json.dumps(items).encode())


class EchoResults:
    """The result of an image is its identifier with ``.1`` behind it."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def uids(self, instance: Instance) -> list[str]:
        return [f"{instance.uid}.1"]

    def reason_to_skip(self, instance: Instance) -> str | None:
        return None if instance.sop_class == DERMOSCOPY else "other objects"

    async def make(self, instance: Instance, data: bytes) -> list[bytes]:
        assert data.decode() == instance.uid
        self.made.append(instance.uid)
        return [uid.encode() for uid in self.uids(instance)]
