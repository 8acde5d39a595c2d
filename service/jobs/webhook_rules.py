"""The addresses that webhooks may go to, and their signature, by the conventions of Standard Webhooks.

:mod:`service.jobs.webhook_sender` sends them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Collection
from pathlib import Path

_PREFIX = "whsec_"
_LEAST_KEY_BYTES = 24
_LONGEST_URL = 2000
# So narrow that every parser finds the same host in it.
_URL = re.compile(r"(https?://(?:[a-z0-9.-]+|\[[0-9a-f:]+\])(?::[0-9]{1,5})?)(?:/[A-Za-z0-9._~!$&'()*+,;=:/?%-]*)?")


class WebhookError(ValueError):
    """The address or the key cannot be used; the text says what to change."""


def require_allowed(url: str, origins: Collection[str]) -> None:
    """Raises :class:`WebhookError` for an address at no such origin (scheme, host and port alone)."""
    match = _URL.fullmatch(url)
    if match is None or match[1] not in origins or len(url) > _LONGEST_URL:
        raise WebhookError(
            "webhook_url: at none of the origins that CIN_WEBHOOK_ORIGINS names, or with other signs than plain ones"
        )


def read_key(path: Path) -> bytes:
    """The key in a file, as ``whsec_`` and Base64. Raises :class:`WebhookError`."""
    try:
        text = path.read_text(encoding="ascii").strip()
        key = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except OSError as error:
        raise WebhookError(f"CIN_WEBHOOK_KEY_FILE: {path}: {error.strerror}") from error
    except (UnicodeDecodeError, binascii.Error):
        key = b""
    if len(key) < _LEAST_KEY_BYTES:
        raise WebhookError(
            f"CIN_WEBHOOK_KEY_FILE: {path} holds no key; write one with: echo {_PREFIX}$(openssl rand -base64 32)"
        )
    return key


def signature(key: bytes, id: str, timestamp: int, body: bytes) -> str:
    """HMAC-SHA256 of id, time and body, as the header ``webhook-signature`` has it."""
    signed = f"{id}.{timestamp}.".encode() + body
    return f"v1,{base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()}"
