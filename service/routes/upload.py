"""The pictures of a request, held in memory and never larger than allowed."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from service.errors import MALFORMED, TOO_LARGE, UNSUPPORTED_TYPE, ServiceError

FIELD = "image"

# Room for the boundaries and headers around a picture of the largest size.
MULTIPART_OVERHEAD = 64 * 1024


async def read_upload(request: Request, *, max_bytes: int) -> bytes:
    """The bytes of the picture: multipart field ``image``, or an ``image/*`` body.

    Raises :class:`ServiceError`: too large (as soon as that is known, whether announced or not), malformed, or neither
    kind of body.
    """
    kind = _kind(request)
    if kind == "multipart/form-data":
        (picture,) = await _read_form(request, max_files=1, max_bytes=max_bytes)
        return picture
    if kind.startswith("image/"):
        return b"".join([chunk async for chunk in _limited(request, max_bytes)])
    raise ServiceError(UNSUPPORTED_TYPE, f"send a multipart form with the field {FIELD}, or a body of type image/*")


async def read_uploads(request: Request, *, max_files: int, max_bytes: int) -> list[bytes]:
    """The bytes of one to ``max_files`` pictures of ``max_bytes`` each on average: multipart fields ``image``.

    Raises :class:`ServiceError`: too large in all, malformed, or no form.
    """
    if _kind(request) != "multipart/form-data":
        raise ServiceError(UNSUPPORTED_TYPE, f"send a multipart form with the field {FIELD} once for each picture")
    return await _read_form(request, max_files=max_files, max_bytes=max_files * max_bytes)


def _kind(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _read_form(request: Request, *, max_files: int, max_bytes: int) -> list[bytes]:
    limit = max_bytes + max_files * MULTIPART_OVERHEAD
    files = "one file" if max_files == 1 else f"one to {max_files} files"
    malformed = ServiceError(MALFORMED, f"not a multipart form with {files} in the field {FIELD} and nothing else")
    parser = MultiPartParser(request.headers, _limited(request, limit), max_files=max_files, max_fields=0)
    parser.spool_max_size = limit  # uploads never touch a disk
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise malformed from error
    try:
        uploads = form.multi_items()
        if not uploads or not all(name == FIELD and isinstance(upload, UploadFile) for name, upload in uploads):
            raise malformed
        return [await upload.read() for _, upload in uploads if isinstance(upload, UploadFile)]
    finally:
        await form.close()


async def _limited(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    """The body's chunks. An announced size is refused before anything is read."""
    too_large = ServiceError(TOO_LARGE, f"the upload is larger than {limit:,} bytes; send less at once")
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise too_large
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > limit:
            raise too_large
        yield chunk
