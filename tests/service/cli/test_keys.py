"""API keys in their file, and the ``cin keys`` command."""

from __future__ import annotations

import json
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from typer.testing import CliRunner, Result

from service.access.keys import (
    AccessError,
    LiveKeys,
    create_key,
    is_loopback,
    published_host,
    read_keys,
    require_keys_beyond_loopback,
    revoke_key,
)
from service.audit.chain import verify
from service.cli.main import app


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "keys.json"


def _create(path: Path, client: str = "clinic") -> str:
    return create_key(path, client, announce=lambda key: None)


def _client_of(keys: LiveKeys, key: str) -> str | None:
    caller = keys.caller_of(key)
    return None if caller is None else caller.counted_as


def _revoke(path: Path, id: str) -> None:
    revoke_key(path, id, announce=lambda key: None)


def test_a_key_is_known_and_kept_nowhere(path: Path) -> None:
    key, other = _create(path), _create(path, "other")
    assert re.fullmatch("cin_[A-Za-z0-9_-]{43}", key)
    keys = LiveKeys(path)
    assert (_client_of(keys, key), _client_of(keys, other)) == ("clinic", "other")
    for wrong in ("", "cin_", key[:-1], key + "A", key.swapcase(), key[4:], f" {key}", "cin_" + "A" * 43):
        assert _client_of(keys, wrong) is None
    assert key not in path.read_text()
    assert key[4:] not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_client_has_two_keys_at_most_to_go_over(path: Path) -> None:
    old, new = _create(path), _create(path)
    with pytest.raises(AccessError, match="revoke one first"):
        _create(path)
    keys = LiveKeys(path)
    assert _client_of(keys, old) == _client_of(keys, new) == "clinic"
    first, second = (key.id for key in read_keys(path).keys)
    caller = keys.caller_of(old)
    assert caller is not None
    assert caller.owners == (f"clinic:{first}", f"clinic:{second}")
    _revoke(path, first)
    assert keys.look_again() == (set(), {f"clinic:{first}"})
    assert keys.look_again() == (set(), set())
    assert (_client_of(keys, old), _client_of(keys, new)) == (None, "clinic")
    _create(path)
    (came,), went = keys.look_again()
    assert (came.partition(":")[0], went) == ("clinic", set())


def test_no_key_is_accepted_when_the_file_was_not_read_for_long(path: Path) -> None:
    key, now = _create(path), 0.0
    keys = LiveKeys(path, clock=lambda: now)
    now = 9.0
    assert _client_of(keys, key) == "clinic"
    keys.look_again()
    now = 18.0
    assert _client_of(keys, key) == "clinic"
    now = 20.0
    with pytest.raises(AccessError, match="not read"):
        keys.caller_of(key)
    keys.look_again()
    assert _client_of(keys, key) == "clinic"


def test_predictions_go_over_to_a_second_key_and_end_with_the_last(path: Path) -> None:
    first = _create(path)
    keys = LiveKeys(path)
    one = keys.caller_of(first)
    assert one is not None
    assert one.name == f"clinic:{read_keys(path).keys[0].id}"
    assert one.owners == (one.name,)
    second, other = _create(path), _create(path, "clinic-2")
    keys.look_again()
    two, stranger = keys.caller_of(second), keys.caller_of(other)
    assert two is not None
    assert stranger is not None
    assert two.owners == (two.name, one.name)
    assert one.name not in stranger.owners
    for key in (one, two):
        _revoke(path, key.name.partition(":")[2])
    again = _create(path)
    keys.look_again()
    third = keys.caller_of(again)
    assert third is not None
    assert not {one.name, two.name} & set(third.owners)


@pytest.mark.parametrize("name", ["", "Clinic", "a b", "../x", "-a", "a" * 64, "ä", "a\n", "anyone"])
def test_names_are_short_and_plain(path: Path, name: str) -> None:
    with pytest.raises(AccessError, match="name"):
        _create(path, name)
    assert not path.exists()


def test_two_who_make_keys_at_once_lose_none(path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda number: _create(path, f"clinic-{number}"), range(12)))
    keys = LiveKeys(path)
    assert [_client_of(keys, key) for key in made] == [f"clinic-{number}" for number in range(12)]


def test_nothing_is_changed_when_it_could_not_be_announced(path: Path) -> None:
    _create(path)
    before = path.read_bytes()

    def fail(_: object) -> None:
        raise AccessError("no log")

    with pytest.raises(AccessError, match="no log"):
        create_key(path, "other", announce=fail)
    with pytest.raises(AccessError, match="no log"):
        revoke_key(path, read_keys(path).keys[0].id, announce=fail)
    assert path.read_bytes() == before


def test_the_lock_is_free_right_after(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while a reference to the lock object remains, for instance in a traceback."""
    locks: list[FileLock] = []

    def remembered(*arguments: Any, **named: Any) -> FileLock:
        locks.append(FileLock(*arguments, **named))
        return locks[-1]

    monkeypatch.setattr("service.access.keys.FileLock", remembered)
    _create(path)
    with pytest.raises(AccessError, match="no key has that id"):
        _revoke(path, "0" * 8)
    assert [lock.is_locked for lock in locks] == [False, False]


def test_a_new_file_is_as_readable_as_the_old_one(path: Path) -> None:
    _create(path)
    path.chmod(0o644)
    _create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [p.name for p in path.parent.iterdir() if not p.name.endswith(".lock")] == [path.name]


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.0.2.1", False),
        ("example.org", False),
    ],
)
def test_without_keys_only_this_machine_is_served_unless_said_otherwise(address: str, loopback: bool) -> None:
    assert is_loopback(address) == loopback
    require_keys_beyond_loopback(address, keys=Path("keys.json"), allow_anyone=False)
    require_keys_beyond_loopback(address, keys=None, allow_anyone=True)
    if loopback:
        require_keys_beyond_loopback(address, keys=None, allow_anyone=False)
    else:
        with pytest.raises(AccessError, match=r"cin keys create NAME.*CIN_ALLOW_ANYONE=true"):
            require_keys_beyond_loopback(address, keys=None, allow_anyone=False)


@pytest.mark.parametrize(
    ("published", "host"),
    [("8000", "0.0.0.0"), ("127.0.0.1:8000", "127.0.0.1"), ("[::1]:8000", "::1"), ("0.0.0.0:80", "0.0.0.0")],
)
def test_where_a_port_is_published(published: str, host: str) -> None:
    assert published_host(published) == host


def _cin(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(app, ["keys", *arguments], env=environment)


def test_the_command(path: Path, tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    environment = {"CIN_KEYS": str(path), "CIN_AUDIT": str(log)}
    made = _cin("create", "clinic", **environment)
    assert made.exit_code == 0
    key = made.stdout.strip()
    assert _client_of(LiveKeys(path), key) == "clinic"
    assert "not shown again" in made.stderr
    listed = _cin("list", **environment).stdout.split()
    assert listed[2] == "clinic"
    revoked = _cin("revoke", listed[0], **environment)
    assert revoked.exit_code == 0
    assert _cin("list", **environment).stdout == ""
    again = _cin("revoke", listed[0], **environment)
    assert (again.exit_code, again.stdout) == (1, "")
    assert "cin keys list" in again.stderr
    lines = log.read_bytes().splitlines(keepends=True)
    assert verify(lines).num_entries == 2
    entries = [json.loads(line) for line in lines]
    assert [(e["what"], e["client"], e["key"]) for e in entries] == [
        ("key-created", "clinic", listed[0]),
        ("key-revoked", "clinic", listed[0]),
    ]
    assert key not in log.read_text()


def test_without_a_file_or_with_an_impossible_one_it_says_what_to_do(tmp_path: Path) -> None:
    for command in (["list"], ["create", "clinic"], ["revoke", "0" * 8]):
        told = _cin(*command)
        assert told.exit_code == 1
        assert "CIN_KEYS" in told.stderr
    (tmp_path / "file").touch()
    told = _cin("create", "clinic", CIN_KEYS=str(tmp_path / "file" / "keys.json"))
    assert told.exit_code == 1
    assert "cannot write" in told.stderr


def test_a_log_that_cannot_be_written_makes_no_key(path: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    told = _cin("create", "clinic", CIN_KEYS=str(path), CIN_AUDIT=str(tmp_path / "file" / "audit.jsonl"))
    assert told.exit_code == 1
    assert told.stdout == ""
    assert not path.exists()
