"""A key file that is damaged, or something else: nobody is let in, nothing is waited for, until it is back."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.access.keys import AccessError, LiveKeys
from tests.service.served import make_key


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "keys.json"


def _key(**changes: Any) -> dict[str, Any]:
    return {"id": "0" * 8, "client": "a", "sha256": "0" * 64, "created_at": "2026-01-01T00:00:00Z", **changes}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}x",
        b'{"schema_version": 2, "keys": []}',
        json.dumps({"keys": [_key(sha256="x")]}).encode(),
        json.dumps({"keys": [_key(), _key()]}).encode(),
        json.dumps({"keys": [_key(id=f"{n}" * 8, sha256=f"{n}" * 64) for n in range(3)]}).encode(),
    ],
)
def test_a_file_that_is_none_lets_nobody_in(path: Path, content: bytes) -> None:
    key = make_key(path, "clinic")
    keys = LiveKeys(path)
    path.write_bytes(content)
    with pytest.raises(AccessError, match="not a file of cin keys"):
        LiveKeys(path)
    with pytest.raises(AccessError):
        keys.look_again()
    with pytest.raises(AccessError):
        keys.caller_of(key)


@pytest.mark.parametrize(
    ("put", "told"),
    [
        (os.mkfifo, "no regular file"),
        (Path.mkdir, "no regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "no regular file"),
        (lambda path: path.symlink_to(path), "symbolic links"),
        (lambda path: path.write_bytes(b" " * (16 * 2**20 + 1)), "too large"),
    ],
    ids=["pipe", "folder", "device", "loop", "large file"],
)
def test_what_is_no_file_of_keys_is_not_waited_for(path: Path, put: Callable[[Path], object], told: str) -> None:
    key = make_key(path, "clinic")
    keys, kept = LiveKeys(path), path.rename(path.with_name("kept"))
    put(path)
    with pytest.raises(AccessError, match=told):
        LiveKeys(path)
    with pytest.raises(AccessError, match=told):
        keys.look_again()
    assert keys.failure is not None
    path.rename(path.with_name("away"))
    kept.rename(path)
    assert keys.look_again() == (set(), set())
    assert keys.failure is None
    assert keys.caller_of(key) is not None


def test_a_file_that_comes_back_lets_them_in_again(path: Path) -> None:
    key = make_key(path, "clinic")
    keys = LiveKeys(path)
    kept = path.read_bytes()
    path.unlink()
    with pytest.raises(AccessError, match="cin keys create"):
        keys.look_again()
    with pytest.raises(AccessError):
        keys.caller_of(key)
    path.write_bytes(kept)
    assert keys.look_again() == (set(), set())
    assert keys.caller_of(key) is not None
