"""Records in a real Redis: shared, expiring, within a budget, and gone when they are gone."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from service.attention.overlay import AttentionMaps
from service.storage.maps import pack_maps
from service.storage.redis import RedisRecords
from service.storage.store import Purged, Record, RecordExists, RecordsError
from tests.service.conftest import Start
from tests.service.real_redis import RealRedis, free_port
from tests.service.tiny_bundle import dark_square, picture_bytes
from tests.service.wire import check_problem, post

OWNER = "clinic"
IDS = [f"{number:032x}" for number in range(10)]


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


SIZE = len(pack_maps(_record().maps)) + len(_record().prediction)


def _store(server: RealRedis, *, ttl: float = 60, records: float = 100) -> RedisRecords:
    return RedisRecords(server.url, ttl_seconds=ttl, max_bytes=int(records * SIZE))


@pytest.mark.parametrize("features", [True, False])
def test_what_one_replica_keeps_another_finds(server: RealRedis, features: bool) -> None:
    record = _record('{"name": "Köbner"}', features=features)
    _store(server).put(IDS[0], record)
    back = _store(server).get(IDS[0], OWNER)
    assert back is not None
    assert back.prediction == record.prediction
    for field in fields(AttentionMaps):
        np.testing.assert_array_equal(getattr(back.maps, field.name), getattr(record.maps, field.name))
    assert _store(server).get(IDS[1], OWNER) is None


def _total(server: RealRedis) -> int:
    """Bytes of all records, as the store counts them."""
    return sum(map(int, server.client.hvals("cin:{records}:held")))


def test_records_expire_also_when_no_service_runs(server: RealRedis) -> None:
    store = _store(server, ttl=0.3)
    store.put(IDS[0], _record())
    assert store.get(IDS[0], OWNER) is not None
    time.sleep(0.4)
    assert not [key for key in server.client.keys("*") if IDS[0].encode() in key]
    assert store.get(IDS[0], OWNER) is None
    assert not store.delete(IDS[0], OWNER)


def test_what_expired_leaves_the_books(server: RealRedis) -> None:
    store = _store(server, ttl=0.3, records=2)
    store.put(IDS[0], _record())
    store.put(IDS[1], _record())
    time.sleep(0.4)
    assert store.purge() == Purged(expired=2, for_room=0, kept=0)
    assert _store(server).purge() == Purged(expired=0, for_room=0, kept=0), "told to one replica alone"
    assert server.client.keys("*") == []


def test_the_oldest_make_room(server: RealRedis) -> None:
    store = _store(server, records=3.5)
    for id in IDS[:5]:
        store.put(id, _record())
        time.sleep(0.002)
    assert [store.get(id, OWNER) is not None for id in IDS[:5]] == [False, False, True, True, True]
    assert _total(server) == 3 * SIZE
    assert store.purge() == Purged(expired=0, for_room=2, kept=3)


def test_an_id_is_taken_once_also_by_another_replica(server: RealRedis) -> None:
    _store(server).put(IDS[0], _record())
    with pytest.raises(RecordExists):
        _store(server).put(IDS[0], _record("another"))
    kept = _store(server).get(IDS[0], OWNER)
    assert kept is not None
    assert kept.prediction == _record().prediction
    assert _total(server) == SIZE


def test_deleting_really_deletes(server: RealRedis) -> None:
    store = _store(server)
    store.put(IDS[0], _record("remember me"))
    store.put(IDS[1], _record("keep me"))
    assert store.delete(IDS[0], OWNER)
    assert store.get(IDS[0], OWNER) is None
    assert not store.delete(IDS[0], OWNER)
    assert store.get(IDS[1], OWNER) is not None
    assert not [key for key in server.client.keys("*") if IDS[0].encode() in key]


def test_nobody_else_sees_or_deletes_a_record(server: RealRedis) -> None:
    store = _store(server)
    store.put(IDS[0], _record())
    for other in ("", "clinic-2", "CLINIC", "*"):
        assert store.get(IDS[0], other) is None
        assert not store.delete(IDS[0], other)
    assert store.get(IDS[0], OWNER) is not None
    assert store.delete(IDS[0], OWNER)


def test_who_holds_most_makes_room(server: RealRedis) -> None:
    store = _store(server, records=4.5)
    for id in IDS[:2]:
        store.put(id, replace(_record(), owner="quiet"))
    for id in IDS[2:10]:
        store.put(id, replace(_record(), owner="busy"))
        time.sleep(0.002)
    assert [store.get(id, "quiet") is not None for id in IDS[:2]] == [True, True]
    assert [store.get(id, "busy") is not None for id in IDS[2:10]] == [False] * 6 + [True] * 2
    store.put("a" * 32, replace(_record(), owner="newcomer"))
    assert store.get("a" * 32, "newcomer") is not None
    assert _total(server) == 4 * SIZE
    assert store.purge() == Purged(expired=0, for_room=7, kept=4)


@pytest.mark.parametrize("wrecked", ["abc", "nan", "inf", "-5", "1e300", ""])
def test_books_that_others_wrote_in_do_not_stop_the_store(server: RealRedis, wrecked: str) -> None:
    store = _store(server, records=2.5)
    store.put(IDS[0], _record())
    server.client.hset("cin:{records}:held", mapping={"stranger": wrecked, "clinic": wrecked})
    server.client.hset("cin:{records}:bytes", IDS[0], wrecked)
    for id in IDS[1:6]:
        store.put(id, _record())
    assert store.get(IDS[5], OWNER) is not None
    store.purge()
    assert store.delete(IDS[5], OWNER)


def test_a_clients_keys_have_one_share(server: RealRedis) -> None:
    store = _store(server, records=7.5)
    owners = ["two:1"] * 2 + ["one:1"] * 3 + ["two:2"] * 2
    for id, owner in zip(IDS, [*owners, "new:1"], strict=False):
        store.put(id, replace(_record(), owner=owner))
        time.sleep(0.002)
    assert [store.get(id, owner) is not None for id, owner in zip(IDS, owners, strict=False)] == [False] + [True] * 6
    assert not store.delete(IDS[1], "two:2")
    assert store.delete(IDS[1], "two:1")
    assert _total(server) == 6 * SIZE


def test_what_an_earlier_version_left_goes(server: RealRedis) -> None:
    server.client.zadd("cin:{records}:ages", {IDS[0]: 1})
    server.client.hset("cin:{records}:sizes", IDS[0], SIZE)
    server.client.set("cin:{records}:total", SIZE)
    _store(server)
    assert server.client.keys("*") == []


def test_replicas_share_the_budget(server: RealRedis) -> None:
    stores = [_store(server, records=4.5) for _ in range(3)]

    def work(worker: int) -> None:
        for turn in range(20):
            id = f"{worker + 1:016x}{turn:016x}"  # none of IDS
            stores[worker % 3].put(id, _record())
            if turn % 4 == 0:
                stores[(worker + 1) % 3].delete(id, OWNER)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    stores[0].put(IDS[0], _record())
    kept = [key for key in server.client.keys("cin:{records}:*") if len(key) == len("cin:{records}:") + 32]
    assert 0 < len(kept) <= 4
    assert _total(server) == len(kept) * SIZE


def test_a_redis_that_is_not_there_is_an_error_that_says_so() -> None:
    port = free_port()
    with pytest.raises(RecordsError, match=f"Redis at 127.0.0.1:{port} cannot be used .* CIN_RECORDS_URL"):
        RedisRecords(f"redis://:secret@127.0.0.1:{port}/0", ttl_seconds=60, max_bytes=2**24)


def test_a_url_of_something_else_is_an_error_that_says_so() -> None:
    with pytest.raises(RecordsError, match="redis://host"):
        RedisRecords("https://example.org", ttl_seconds=60, max_bytes=2**24)


def test_a_redis_that_goes_and_comes_back(server: RealRedis, start: Start) -> None:
    picture = picture_bytes(dark_square())
    with start(records_url=server.url) as client:
        assert post(client, picture).status_code == 200
        server.stop()
        try:
            check_problem(post(client, picture), 503, "not be kept")
            check_problem(client.get(f"/predictions/{IDS[0]}"), 503, "or reached")
            check_problem(client.delete(f"/predictions/{IDS[0]}"), 503, "or reached")
        finally:
            server.start()
        assert post(client, picture).status_code == 200


def test_one_service_draws_what_another_predicted(server: RealRedis, start: Start) -> None:
    with start(records_url=server.url) as one, start(records_url=server.url) as other:
        links = post(one, picture_bytes(dark_square())).json()["attention"]
        assert other.get(links["lesion"]).headers["content-type"].startswith("image/")


def test_records_live_in_one_place(start: Start, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="set only one"), start(records_folder=tmp_path, records_url="redis://x"):
        pass
