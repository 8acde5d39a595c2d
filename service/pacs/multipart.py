"""DICOM files in multipart/related messages (RFC 2387; DICOM PS3.18, 8.6); pure functions."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from email.message import Message

_DICOM = "application/dicom"
RELATED = f'multipart/related; type="{_DICOM}"'


class MultipartError(ValueError):
    """A message that is not multipart/related, or holds anything but one part."""


def joined(files: Sequence[bytes]) -> tuple[str, bytes]:
    """The content type and the body of a message of these DICOM files."""
    boundary = secrets.token_hex(16)  # which no file holds
    head = f"--{boundary}\r\nContent-Type: {_DICOM}\r\n\r\n".encode()
    parts = [piece for file in files for piece in (head, file, b"\r\n")]
    return f"{RELATED}; boundary={boundary}", b"".join([*parts, f"--{boundary}--\r\n".encode()])


def only_part(content_type: str, body: bytes) -> bytes:
    """The content of the only part of a message. Raises :class:`MultipartError`."""
    message = Message()
    message["Content-Type"] = content_type
    boundary = message.get_boundary()
    if message.get_content_type() != "multipart/related" or not boundary:
        raise MultipartError("the answer is not multipart/related")
    delimiter = b"\r\n--" + boundary.encode("latin-1", "replace")
    # At most one more than there should be: an answer may consist of boundaries.
    pieces = (b"\r\n" + body).split(delimiter, 3)
    if len(pieces) != 3 or not pieces[2].startswith(b"--"):
        raise MultipartError("the answer does not consist of one part, with its end")
    head, end, content = pieces[1].partition(b"\r\n\r\n")
    if not end:
        raise MultipartError("the answer's part has no end of its headers")
    kind = Message()
    for line in head.splitlines():
        name, _, value = line.decode("latin-1").partition(":")
        if name.strip().lower() == "content-type":
            kind["Content-Type"] = value.strip()
    if kind.get("Content-Type") and kind.get_content_type() != _DICOM:
        raise MultipartError(f"the answer's part is not {_DICOM}")
    return content
