"""Opens the client of a PACS, with the password from its file."""

from __future__ import annotations

import logging
from pathlib import Path
from urllib.parse import urlsplit

from service.access.keys import is_loopback
from service.pacs.client import Pacs, PacsRefused
from service.settings import Settings

log = logging.getLogger(__name__)


def open_pacs(url: str, user: str | None, password_file: Path | None, settings: Settings) -> Pacs:
    """A client with user and password, or without both, and with the limits of ``settings``.

    Raises :class:`PacsRefused` for an address that cannot be one, and for a file that holds no password.
    """
    credentials = None if user is None or password_file is None else (user, _password(password_file))
    max_file_bytes, timeout_seconds = settings.max_upload_bytes, settings.deadline_seconds
    pacs = Pacs(url, credentials, max_file_bytes=max_file_bytes, timeout_seconds=timeout_seconds)
    address = urlsplit(url)
    if credentials is not None and address.scheme == "http" and not is_loopback(address.hostname or ""):
        log.warning("the password goes to the PACS as it is; https encrypts it")
    return pacs


def _password(path: Path) -> str:
    try:
        password = path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text"
        raise PacsRefused(f"the file of the password at the PACS, {path}: {reason}") from error
    if not password:
        raise PacsRefused(f"the file of the password at the PACS, {path}, is empty")
    return password
