"""API keys, stored as digests in one file that every replica may read."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import stat
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Literal

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

# Two, so that a client can switch to a new key before the old one is revoked.
MAX_LIVE_KEYS = 2
# Owner of predictions of a service without keys.
ANYONE = "anyone"

_KEY = re.compile("cin_[A-Za-z0-9_-]{43}")
_LOCK_SECONDS = 10.0
# Of some 100,000 keys.
_MOST_BYTES = 16 * 2**20
# No key is accepted once the file was not checked for this long, for instance because its volume hangs.
STALE_SECONDS = 10.0


class AccessError(RuntimeError):
    """The key file cannot be used, or not in this way; the text says what to change."""


@dataclass(frozen=True)
class Caller:
    """The sender of a request: a key, as ``client:id``, or :data:`ANYONE` in a service without keys.

    Limits count :attr:`counted_as`: the client, or without keys the address. A prediction belongs to the key that made
    it. The client's other live keys can read it too; a key made after the last of them was revoked cannot.
    """

    name: str
    counted_as: str
    other_keys: tuple[str, ...] = ()

    @property
    def client(self) -> str:
        """Whose key it is. The ledger belongs to the client, because it outlives keys."""
        return self.name.partition(":")[0]

    @property
    def owners(self) -> tuple[str, ...]:
        """The owners whose predictions the caller may read."""
        return (self.name, *self.other_keys)


class StoredKey(BaseModel):
    """A live key in the file: its digest, not the key itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern="^[0-9a-f]{8}$", description="the digest's beginning, to name the key by")
    client: str = Field(pattern="^[a-z0-9][a-z0-9._-]{0,62}$")
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    created_at: datetime

    @property
    def name(self) -> str:
        """Client and id, as predictions and the audit log name the key."""
        return f"{self.client}:{self.id}"


class KeyFile(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    keys: tuple[StoredKey, ...] = ()

    @model_validator(mode="after")
    def _has_no_key_twice_and_no_client_too_many(self) -> KeyFile:
        if len({key.id for key in self.keys}) < len(self.keys):
            raise ValueError("a key is there twice")
        if any(num > MAX_LIVE_KEYS for num in Counter(key.client for key in self.keys).values()):
            raise ValueError(f"a client has more than {MAX_LIVE_KEYS} keys")
        return self


def digest_of(key: str) -> str:
    """The digest under which a key is stored. A key has 256 random bits, so a fast digest is as safe as a slow one,
    which would cost every request milliseconds."""
    return hashlib.sha256(key.encode()).hexdigest()


def read_keys(path: Path) -> KeyFile:
    """Read the key file. Raises :class:`AccessError`."""
    try:
        return KeyFile.model_validate_json(_read(path))
    except FileNotFoundError:
        raise AccessError(
            f"{path} is not there; make the first key with CIN_KEYS={path} cin keys create NAME"
        ) from None
    except OSError as error:
        raise AccessError(f"{path} cannot be read ({error.strerror}); CIN_KEYS names a file of cin keys") from error
    except ValidationError as error:
        raise AccessError(f"{path} is not a file of cin keys; delete it and make new keys") from error


def _read(path: Path) -> bytes:
    """The bytes of a regular file: a pipe would be waited for without end, a device or a large file fill memory."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is no regular file")
    with path.open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise OSError(errno.EFBIG, "it is too large")
    return content


def create_key(path: Path, client: str, *, announce: Callable[[StoredKey], object]) -> str:
    """Create a key for ``client``; only its digest is stored. ``announce`` is called before the file is written.

    Raises :class:`AccessError`, for instance when the client has two, or what ``announce`` raises.
    """
    if client == ANYONE:
        raise AccessError(f"{ANYONE} stands for the callers of a service without keys; choose another name")
    key = f"cin_{secrets.token_urlsafe(32)}"
    digest = digest_of(key)
    try:
        new = StoredKey(id=digest[:8], client=client, sha256=digest, created_at=datetime.now(UTC))
    except ValidationError:
        raise AccessError(
            "a client's name has up to 63 small letters, digits, dots, hyphens and underscores, and begins with a "
            "letter or a digit"
        ) from None
    with _lock(path):
        keys = read_keys(path).keys if path.exists() else ()
        if sum(k.client == client for k in keys) >= MAX_LIVE_KEYS:
            raise AccessError(f"{client} has {MAX_LIVE_KEYS} keys already; revoke one first (cin keys list)")
        if any(k.id == new.id for k in keys):
            raise AccessError("the new key looks like another one, which happens once in a lifetime; try again")
        announce(new)
        _write(path, KeyFile(keys=(*keys, new)))
    return key


def revoke_key(path: Path, id: str, *, announce: Callable[[StoredKey], object]) -> StoredKey:
    """Remove the key ``id`` from the file; ``announce`` is called before the file is written.

    Raises :class:`AccessError`, or what ``announce`` raises.
    """
    with _lock(path):
        keys = read_keys(path).keys
        found = [key for key in keys if key.id == id]
        if not found:
            raise AccessError("no key has that id; cin keys list shows them all")
        announce(found[0])
        _write(path, KeyFile(keys=tuple(key for key in keys if key.id != id)))
    return found[0]


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock(f"{path}.lock", timeout=_LOCK_SECONDS, mode=0o600)
        lock.acquire()
    except OSError as error:  # also its Timeout
        raise AccessError(f"cannot write to {path.parent}; CIN_KEYS names a file in a folder of yours") from error
    try:
        yield
    finally:
        lock.release()


def _write(path: Path, keys: KeyFile) -> None:
    """Replace the file atomically, with the same permissions; readers see the old or the new one."""
    try:
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(keys.model_dump_json(indent=2) + "\n")
                file.flush()
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise AccessError(f"{path} cannot be written ({error.strerror}); nothing was changed") from error


class LiveKeys:
    """The keys of the file; reloaded when it changes."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises :class:`AccessError` for a file that cannot be read."""
        self._path, self._clock = path, clock
        self._looked = clock()
        self._stamp = _stamp(path)
        self._error: AccessError | None = None
        self._callers = _callers(read_keys(path))

    @property
    def named(self) -> set[str]:
        """Client and id of every live key."""
        return {caller.name for caller in self._callers.values()}

    @property
    def failure(self) -> AccessError | None:
        """Why no key is accepted now, or None when they are."""
        if self._error is None and self._clock() - self._looked > STALE_SECONDS:
            return AccessError(f"{self._path} was not read for {STALE_SECONDS:g} s")
        return self._error

    def caller_of(self, key: str) -> Caller | None:
        """The caller with a key; None for an unknown or revoked key.

        The lookup is by digest, so its timing reveals nothing about the key. Raises :class:`AccessError` while the
        file cannot be read or was not checked for :data:`STALE_SECONDS`.
        """
        if (failure := self.failure) is not None:
            raise failure
        return self._callers.get(digest_of(key)) if _KEY.fullmatch(key) else None

    def look_again(self) -> tuple[set[str], set[str]]:
        """Reload the key file if it changed; returns the keys added and removed. Blocks on the disk.

        Raises :class:`AccessError` when it cannot be read; until it can, no key is accepted.
        """
        now, stamp = self._clock(), _stamp(self._path)
        if stamp == self._stamp and self._error is None:
            self._looked = now
            return set(), set()
        before = self.named
        try:
            self._callers = _callers(read_keys(self._path))
        except AccessError as error:
            self._error = error
            raise
        self._looked, self._stamp, self._error = now, stamp, None
        return self.named - before, before - self.named


def _callers(file: KeyFile) -> dict[str, Caller]:
    """The callers by their keys' digests: every request looks for one, so none may take longer where keys are many."""
    of_client: dict[str, set[str]] = {}
    for key in file.keys:
        of_client.setdefault(key.client, set()).add(key.name)
    return {
        key.sha256: Caller(
            key.name, counted_as=key.client, other_keys=tuple(sorted(of_client[key.client] - {key.name}))
        )
        for key in file.keys
    }


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Identity of the file's contents: inode, modification time and size."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def published_host(published: str) -> str:
    """The address in ``8000``, ``127.0.0.1:8000`` or ``[::1]:8000``, as Docker publishes ports."""
    return published.rpartition(":")[0].strip("[]") or "0.0.0.0"


def require_keys_beyond_loopback(address: str, *, keys: Path | None, allow_anyone: bool) -> None:
    """Raise :class:`AccessError` when other machines can reach ``address`` and no keys are required."""
    if keys is not None or allow_anyone or is_loopback(address):
        return
    raise AccessError(
        f"other machines can reach {address}, and no key would be needed; make a key "
        "(CIN_KEYS=keys.json cin keys create NAME) and serve with the same CIN_KEYS, or let everybody in with "
        "CIN_ALLOW_ANYONE=true"
    )


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"
