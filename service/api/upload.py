"""Reading the body of a request, images or JSON: in memory, with limits of size and time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from service.ledger.entries import LABEL_LENGTH
from service.problems import MALFORMED, REQUEST_TIMEOUT, TOO_LARGE, UNSUPPORTED_TYPE, ServiceError

Sent = TypeVar("Sent", bound=BaseModel)

FIELD = "image"
# Texts of a batch, as many as images: the client's own name for each, its lesion, and the visit.
REFERENCE, LESION, VISIT = "reference", "lesion", "visit"
REFERENCE_LENGTH = 128
_TEXTS = {REFERENCE: REFERENCE_LENGTH, LESION: LABEL_LENGTH, VISIT: len("2026-01-31")}

# Of a body that is JSON: these are a handful of words.
_JSON_BYTES = 4096

# Python keeps every other name that it is asked for, and some codecs raise errors of their own.
_CHARSETS = frozenset({b"utf-8", b"us-ascii", b"iso-8859-1"})
# Of a form: its boundary has at most 70 characters (RFC 2046). A type of many parameters takes long to read.
_LONGEST_TYPE = 256

# Types of a body that is an image, besides image/*.
_BODIES = ("application/octet-stream", "application/dicom")

# Room for the boundaries and headers around an image of the largest size.
MULTIPART_OVERHEAD = 64 * 1024


@dataclass(frozen=True)
class UploadLimits:
    """What one request's upload may take."""

    max_bytes: int  # of each image
    ends: float  # when it must be here, in the event loop's time
    take: Callable[[int], None]  # counts the bytes that arrive; raises Busy when there is no room


async def read_upload(request: Request, limits: UploadLimits) -> bytes:
    """The bytes of the image: multipart field ``image``, or a body of type ``image/*``, DICOM or octet-stream.

    Raises :class:`ServiceError`: too large (as soon as that is known, whether announced or not), malformed, not here in
    time, or neither kind of body; and what ``limits.take`` raises.
    """
    kind = media_type_of(request)
    if kind == "multipart/form-data":
        (picture,), _ = await _read_form(request, limits, {}, max_files=1)
        return picture
    if kind.startswith("image/") or kind in _BODIES:
        return b"".join([chunk async for chunk in _received(request, limits, limits.max_bytes)])
    raise ServiceError(
        UNSUPPORTED_TYPE,
        f"send a multipart form with the field {FIELD}, or a body of type image/* or {' or '.join(_BODIES)}",
    )


async def read_uploads(
    request: Request, limits: UploadLimits, *, max_files: int, max_bytes: int | None = None
) -> tuple[list[bytes], dict[str, list[str]]]:
    """The bytes of one to ``max_files`` images, ``max_bytes`` in all (None: each of the largest size): multipart
    fields ``image``; and their texts, by the names of the fields that the form has as many of: ``reference``,
    ``lesion``, ``visit``.

    Raises :class:`ServiceError`: too large in all, malformed, not here in time, or no form; and what ``limits.take``
    raises.
    """
    if media_type_of(request) != "multipart/form-data":
        raise ServiceError(UNSUPPORTED_TYPE, f"send a multipart form with the field {FIELD} once for each image")
    return await _read_form(request, limits, _TEXTS, max_files=max_files, max_bytes=max_bytes)


async def read_json(request: Request, kind: type[Sent], ends: float) -> Sent:
    """What a small JSON body says. Raises :class:`ServiceError` for one that is too large, not here in time, or of
    another type, and the 400 of other contents, whose text repeats nothing that was sent."""
    if media_type_of(request) != "application/json":
        raise ServiceError(MALFORMED, "send a body of type application/json")
    limits = UploadLimits(_JSON_BYTES, ends, take=lambda num_bytes: None)
    data = b"".join(
        [chunk async for chunk in _received(request, limits, _JSON_BYTES, "send the fields of the schema alone")]
    )
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False, include_context=False)
        # A field of another name is the client's own text.
        places = ((each, () if each["type"] == "extra_forbidden" else each["loc"]) for each in wrong)
        raise RequestValidationError([{**each, "loc": ("body", *place)} for each, place in places]) from None


def media_type_of(request: Request) -> str:
    """The media type of a request's body, without its parameters; empty: none is stated."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _read_form(
    request: Request, limits: UploadLimits, texts: Mapping[str, int], *, max_files: int, max_bytes: int | None = None
) -> tuple[list[bytes], dict[str, list[str]]]:
    """The files, and the texts by field; ``texts`` has the most characters of each field."""
    limit = max_files * (limits.max_bytes + MULTIPART_OVERHEAD)
    if max_bytes is not None:
        limit = min(limit, max_bytes)
    files = "one file" if max_files == 1 else f"one to {max_files} files"
    allowed = ", ".join(f"{name} (at most {most} characters)" for name, most in texts.items())
    rest = f"as many fields {allowed}, or none" if texts else "nothing else"
    malformed = ServiceError(
        MALFORMED,
        f"send a multipart form with {files} in the field {FIELD} and {rest}; all else belongs in the address",
    )
    kind = request.headers["content-type"]
    if len(kind) > _LONGEST_TYPE:
        raise ServiceError(MALFORMED, f"the form's Content-Type has more than {_LONGEST_TYPE} characters; send fewer")
    _, options = parse_options_header(kind)
    if options.get(b"charset", b"utf-8").lower() not in _CHARSETS:
        raise ServiceError(MALFORMED, "the form's charset is not known here; send UTF-8, and name no charset")
    chunks = _received(request, limits, limit)
    parser = MultiPartParser(
        request.headers,
        chunks,
        max_files=max_files,
        max_fields=max_files * len(texts),
        max_part_size=4 * REFERENCE_LENGTH,  # bytes, in UTF-8
    )
    parser.spool_max_size = limit  # uploads never touch a disk
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise malformed from error
    try:
        files_of: list[UploadFile] = []
        texts_of: dict[str, list[str]] = {}
        for name, value in form.multi_items():
            if name == FIELD and isinstance(value, UploadFile):
                files_of.append(value)
            elif isinstance(value, str) and len(value) <= texts.get(name, -1):
                texts_of.setdefault(name, []).append(value)
            else:
                raise malformed
        if not files_of or any(len(each) != len(files_of) for each in texts_of.values()):
            raise malformed
        return [await upload.read() for upload in files_of], texts_of
    finally:
        await form.close()


async def _received(
    request: Request, limits: UploadLimits, most: int, remedy: str = "send fewer or smaller images"
) -> AsyncGenerator[bytes, None]:
    """The body's chunks, ``most`` bytes at most. An announced size is refused before anything is read."""
    too_large = ServiceError(TOO_LARGE, f"the upload is larger than {most:,} bytes; {remedy}")
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > most:
        raise too_large
    received = 0
    async for chunk in _until(request, limits.ends):
        received += len(chunk)
        if received > most:
            raise too_large
        limits.take(len(chunk))
        yield chunk


async def _until(request: Request, ends: float) -> AsyncGenerator[bytes, None]:
    chunks = request.stream()
    while True:
        try:
            async with asyncio.timeout_at(ends):
                chunk = await anext(chunks, None)
        except TimeoutError:
            detail = "the upload did not arrive in time; send it again, or smaller"
            raise ServiceError(REQUEST_TIMEOUT, detail, headers={"Connection": "close"}) from None
        if chunk is None:
            return
        yield chunk
