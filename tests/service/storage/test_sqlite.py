"""Predictions are kept for a while, within a budget, and gone when they are gone."""

from __future__ import annotations

import sqlite3
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.attention.overlay import AttentionMaps
from service.storage.maps import pack_maps
from service.storage.sqlite import SqliteRecords
from service.storage.store import DamagedRecord, Purged, Record, RecordExists, RecordsError, RecordsFull

OWNER = "clinic"
IDS = [f"{number:032x}" for number in range(10)]


class Clock:
    """Seconds that pass when told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def _record(text: str = '{"a": 1}', *, features: bool = True, seed: int = 0) -> Record:
    random = np.random.default_rng(seed)
    maps = AttentionMaps(
        frame=random.integers(0, 256, (8, 8, 3), dtype=np.uint8),
        width=640,
        height=480,
        crop_box=np.array([0.1, 0.2, 0.8, 0.9], np.float32),
        lesion=random.integers(0, 256, (8, 8), dtype=np.uint8),
        spatial=random.random((2, 2, 2), dtype=np.float32) if features else None,
        correlation=random.random((2, 4, 4), dtype=np.float32) if features else None,
    )
    return Record(OWNER, text, maps)


def _store(folder: Path | None, clock: Clock, *, records: float = 100) -> SqliteRecords:
    size = len(pack_maps(_record().maps)) + len(_record().prediction)
    return SqliteRecords(folder, ttl_seconds=60, max_bytes=int(records * size), clock=clock)


def test_an_id_is_taken_once(tmp_path: Path) -> None:
    store = _store(tmp_path, Clock())
    store.put(IDS[0], _record())
    with pytest.raises(RecordExists):
        store.put(IDS[0], _record("another"))
    kept = store.get(IDS[0], OWNER)
    assert kept is not None
    assert kept.prediction == _record().prediction


@pytest.mark.parametrize("features", [True, False])
def test_what_is_kept_comes_back_the_same(tmp_path: Path, features: bool) -> None:
    store, record = _store(tmp_path, Clock()), _record(features=features)
    store.put(IDS[0], record)
    back = store.get(IDS[0], OWNER)
    assert back is not None
    assert back.prediction == record.prediction
    for field in fields(AttentionMaps):
        np.testing.assert_array_equal(getattr(back.maps, field.name), getattr(record.maps, field.name))
    assert store.get(IDS[1], OWNER) is None


def test_records_expire(tmp_path: Path) -> None:
    clock = Clock()
    store = _store(tmp_path, clock)
    store.put(IDS[0], _record())
    clock.now += 59
    assert store.get(IDS[0], OWNER) is not None
    clock.now += 1
    assert store.get(IDS[0], OWNER) is None
    assert not store.delete(IDS[0], OWNER)


def test_expired_records_leave_the_disk_without_traffic(tmp_path: Path) -> None:
    clock = Clock()
    store = _store(tmp_path, clock)
    store.put(IDS[0], _record("remember me"))
    assert b"remember me" in (tmp_path / "records.sqlite").read_bytes()
    clock.now += 61
    store.purge()
    assert b"remember me" not in (tmp_path / "records.sqlite").read_bytes()


def test_the_oldest_make_room(tmp_path: Path) -> None:
    clock = Clock()
    store = _store(tmp_path, clock, records=3.5)
    for id in IDS[:5]:
        clock.now += 1
        store.put(id, _record())
    assert [store.get(id, OWNER) is not None for id in IDS[:5]] == [False, False, True, True, True]


def test_who_holds_most_makes_room(tmp_path: Path) -> None:
    clock = Clock()
    store = _store(tmp_path, clock, records=4.5)

    def put(ids: list[str], owner: str) -> list[bool]:
        for id in ids:
            clock.now += 1
            store.put(id, replace(_record(), owner=owner))
        return [store.get(id, owner) is not None for id in ids]

    put(IDS[:2], "quiet")
    assert put(IDS[2:10], "busy") == [False] * 6 + [True] * 2
    assert [store.get(id, "quiet") is not None for id in IDS[:2]] == [True, True]
    assert put(["a" * 32], "newcomer") == [True]
    assert store.purge() == Purged(expired=0, for_room=7, kept=4)


def test_a_clients_keys_have_one_share(tmp_path: Path) -> None:
    clock = Clock()
    store = _store(tmp_path, clock, records=7.5)
    owners = ["two:1"] * 2 + ["one:1"] * 3 + ["two:2"] * 2
    for id, owner in zip(IDS, [*owners, "new:1"], strict=False):
        clock.now += 1
        store.put(id, replace(_record(), owner=owner))
    assert [store.get(id, owner) is not None for id, owner in zip(IDS, owners, strict=False)] == [False] + [True] * 6


def test_deleting_really_deletes(tmp_path: Path) -> None:
    store = _store(tmp_path, Clock())
    secret, other = _record("remember me", seed=1), _record("keep me", seed=2)
    store.put(IDS[0], secret)
    store.put(IDS[1], other)
    assert store.delete(IDS[0], OWNER)
    assert store.get(IDS[0], OWNER) is None
    assert not store.delete(IDS[0], OWNER)
    on_disk = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"remember me" not in on_disk
    assert secret.maps.frame.tobytes() not in on_disk
    assert other.maps.frame.tobytes() in on_disk


def test_records_survive_in_a_folder_of_their_own(tmp_path: Path) -> None:
    first = _store(tmp_path / "records", Clock())
    first.put(IDS[0], _record())
    first.close()
    assert _store(tmp_path / "records", Clock()).get(IDS[0], OWNER) is not None
    assert stat.S_IMODE((tmp_path / "records" / "records.sqlite").stat().st_mode) == 0o600


def test_without_a_folder_they_are_in_memory_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    store = _store(None, Clock())
    store.put(IDS[0], _record())
    assert store.get(IDS[0], OWNER) is not None
    assert list(tmp_path.iterdir()) == []
    assert _store(None, Clock()).get(IDS[0], OWNER) is None
    store.close()


def test_nobody_else_sees_or_deletes_a_record(tmp_path: Path) -> None:
    store = _store(tmp_path, Clock())
    store.put(IDS[0], _record())
    for other in ("", "clinic-2", "CLINIC", "%"):
        assert store.get(IDS[0], other) is None
        assert not store.delete(IDS[0], other)
    assert store.get(IDS[0], OWNER) is not None
    assert store.delete(IDS[0], OWNER)


def test_what_went_by_itself_is_told_once(tmp_path: Path) -> None:
    clock = Clock()
    store = _store(tmp_path, clock, records=2.5)
    for id in IDS[:3]:
        clock.now += 1
        store.put(id, _record())
    assert store.delete(IDS[1], OWNER)
    assert store.purge() == Purged(expired=0, for_room=1, kept=1)
    clock.now += 61
    store.put(IDS[4], _record())
    assert store.purge() == Purged(expired=1, for_room=0, kept=1)
    assert store.purge() == Purged(expired=0, for_room=0, kept=1)


def test_records_of_an_earlier_version_go(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "records.sqlite")
    database.execute("CREATE TABLE records (id TEXT PRIMARY KEY, prediction TEXT NOT NULL)")
    database.execute("INSERT INTO records VALUES (?, 'remember me')", (IDS[0],))
    database.commit()
    database.close()
    store = _store(tmp_path, Clock())
    assert store.get(IDS[0], OWNER) is None
    assert b"remember me" not in (tmp_path / "records.sqlite").read_bytes()
    store.put(IDS[0], _record())
    assert store.get(IDS[0], OWNER) is not None


class SlowClock(Clock):
    """While it is read, other threads take their turn."""

    def __call__(self) -> float:
        time.sleep(0.001)
        return self.now


def test_threads_share_a_store_and_its_budget(tmp_path: Path) -> None:
    store = _store(tmp_path, SlowClock(), records=4.5)

    def work(worker: int) -> None:
        record = _record(f'{{"a": {worker}}}', seed=worker)
        for turn in range(8):
            id = f"{worker + 1:016x}{turn:016x}"  # none of IDS: what is replaced makes room twice
            store.put(id, record)
            back = store.get(id, OWNER)  # others may have pushed it out already
            assert back is None or back.prediction == record.prediction
            assert back is None or back.maps.frame.tobytes() == record.maps.frame.tobytes()
            if turn % 2 == 0:
                store.delete(id, OWNER)
                assert store.get(id, OWNER) is None

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
        list(pool.map(lambda id: store.put(id, _record()), IDS))
    database = sqlite3.connect(tmp_path / "records.sqlite")
    assert database.execute("SELECT count(*) FROM records").fetchone() == (4,)


def test_a_file_that_is_no_database_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "records.sqlite").write_bytes(b"no database " * 100)
    with pytest.raises(RecordsError, match="delete it"):
        _store(tmp_path, Clock())


def test_a_record_that_others_wrote_is_damaged(tmp_path: Path) -> None:
    store = _store(tmp_path, Clock())
    for id in IDS[:2]:
        store.put(id, _record())
    with sqlite3.connect(tmp_path / "records.sqlite") as database:
        database.execute("UPDATE records SET prediction = CAST(x'fffe' AS TEXT) WHERE id = ?", (IDS[0],))
    with pytest.raises(DamagedRecord):
        store.get(IDS[0], OWNER)
    assert store.get(IDS[1], OWNER) is not None
    assert store.delete(IDS[0], OWNER)


def test_a_folder_that_cannot_be_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecordsError, match="CIN_RECORDS_FOLDER"):
        _store(tmp_path / "file", Clock())


def test_a_clock_that_is_set_back_keeps_nothing_for_longer(tmp_path: Path) -> None:
    clock = Clock()
    store = _store(tmp_path, clock)
    store.put(IDS[0], _record())
    clock.now -= 30
    assert store.get(IDS[0], OWNER) is not None, "a small correction costs nothing"
    clock.now -= 3600
    assert store.get(IDS[0], OWNER) is None
    store.purge()
    clock.now += 3630
    assert store.get(IDS[0], OWNER) is None


def test_a_full_disk_keeps_what_there_is_and_takes_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite reports its own limit of pages in the same words as a full disk."""
    connect, opened = sqlite3.connect, list[sqlite3.Connection]()

    def remembering(*arguments: Any, **named: Any) -> sqlite3.Connection:
        opened.append(connect(*arguments, **named))
        return opened[-1]

    monkeypatch.setattr("service.storage.sqlite.sqlite3.connect", remembering)
    records = SqliteRecords(tmp_path, ttl_seconds=60, max_bytes=2**30)
    records.put("first", _record())
    (database,) = opened
    pages = database.execute("PRAGMA page_count").fetchone()[0]
    database.execute(f"PRAGMA max_page_count = {pages + 1}")
    records.put("second", _record())
    with pytest.raises(RecordsFull, match="free disk space"):
        records.put("third", replace(_record(), prediction="x" * 100_000))
    assert records.get("first", OWNER) is not None
    assert records.delete("first", OWNER)
    records.put("again", _record())
    records.close()
