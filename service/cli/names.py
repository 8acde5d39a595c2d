"""File names as text, for the results file and the terminal.

A file name may hold every byte but ``/`` and NUL: line breaks, which cut rows of a table; escape sequences, which a
terminal obeys; bytes that are not UTF-8; the beginning of a formula. All of these are percent-encoded, and nothing else
is: ordinary names stay as they are. ``urllib.parse.unquote(text, errors="surrogateescape")`` gives the name back.
"""

from __future__ import annotations

import os
import re
from urllib.parse import unquote_to_bytes

_ENCODING = ("utf-8", "surrogateescape")

_CONTROLS = (
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029]"  # control characters and line breaks
    r"|[\u202a-\u202e\u2066-\u2069]"  # these change the direction of the text: gpj.exe is shown as exe.jpg
    r"|[\ud800-\udfff]"  # bytes that are not UTF-8
)
# At the beginning, and where a spreadsheet may split at semicolons; those of full width, as in Japanese, count as well.
_FORMULA = r"(?<![^;])[=+\-@\uff1d\uff0b\uff0d\uff20]"
_ESCAPE = r"%(?=[0-9A-Fa-f]{2})"  # a percent sign that would be decoded

_NOT_PRINTABLE = re.compile(_CONTROLS)
_NOT_PLAIN = re.compile("|".join((_CONTROLS, _FORMULA, _ESCAPE)))


def to_text(path: str | os.PathLike[str]) -> str:
    """A path in printable characters: one line, one cell, no formula, the same in every locale."""
    return _encode(os.fsencode(path).decode(*_ENCODING))


def to_path(text: str) -> str:
    """The path that :func:`to_text` was given."""
    if "%" not in text and text.isascii():  # as nearly all are
        return text
    return os.fsdecode(unquote_to_bytes(text.encode(*_ENCODING)))


def as_written_now(text: str) -> str:
    """What :func:`to_text` gives for a name in a file of an earlier version, which wrote names as they were."""
    if "%" not in text and not _NOT_PLAIN.search(text):
        return text
    decoded = unquote_to_bytes(text.encode(*_ENCODING)).decode(*_ENCODING)
    return text if _encode(decoded) == text else _encode(text)


def printable(message: str) -> str:
    """A message for the terminal without the control characters of the names in it."""
    return _NOT_PRINTABLE.sub(_percent, message)


def _encode(name: str) -> str:
    return _NOT_PLAIN.sub(_percent, name)


def _percent(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode(*_ENCODING))
