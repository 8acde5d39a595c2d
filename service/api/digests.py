"""``Content-Digest`` (RFC 9530): whether a body arrived as it was sent. A bit that turned over may still decode."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import Any, Self

_ALGORITHMS = {"sha-256": "sha256", "sha-512": "sha512"}

# A dictionary of byte sequences (RFC 9651, 3.2 and 3.3.5); parameters mean nothing here.
_MEMBER = re.compile(r"([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/=]*):(?:;[^,]*)?")


class DigestError(ValueError):
    """The header cannot be read, or the body is another one; the text says what to change."""


class ContentDigest:
    """What a request says its body's digests are, and what they become."""

    def __init__(self, expected: dict[str, bytes]) -> None:
        """``expected`` holds digests by algorithm; those of unknown algorithms are passed over."""
        self._expected = {_ALGORITHMS[name]: value for name, value in expected.items() if name in _ALGORITHMS}
        self._hashes: dict[str, Any] = {name: hashlib.new(name) for name in self._expected}

    @classmethod
    def parse(cls, header: str | None) -> Self:
        """Raises :class:`DigestError` for a header that is none."""
        expected: dict[str, bytes] = {}
        for member in [] if header is None else header.split(","):
            found = _MEMBER.fullmatch(member.strip())
            if found is None:
                raise _unreadable()
            try:
                expected[found[1]] = base64.b64decode(found[2], validate=True)
            except ValueError:
                raise _unreadable() from None
        return cls(expected)

    def update(self, chunk: bytes) -> None:
        """Take in the next part of the body."""
        for known in self._hashes.values():
            known.update(chunk)

    def check(self) -> None:
        """Raises :class:`DigestError` when the body was not what the header says."""
        for name, known in self._hashes.items():
            if not hmac.compare_digest(known.digest(), self._expected[name]):
                raise DigestError("the body is not what its Content-Digest says; it changed on its way, send it again")


def _unreadable() -> DigestError:
    return DigestError("Content-Digest cannot be read; write sha-256=:BASE64: as RFC 9530 does, or leave it out")
