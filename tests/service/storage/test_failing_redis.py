"""A Redis that hangs, drips or holds what the service never wrote: every answer is bounded, and none is wrong."""

from __future__ import annotations

import asyncio
import json
import socket
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from service.access.keys import read_keys, revoke_key
from service.bundle import Bundle
from service.storage.records import DEADLINE_SECONDS, Records
from service.storage.redis import RedisRecords
from service.storage.store import Purged, Record, RecordsError
from tests.service.attention.maps import maps
from tests.service.conftest import Start
from tests.service.real_redis import RealRedis
from tests.service.served import Served, make_key, served
from tests.service.storage.test_maps import archive_of, npz
from tests.service.waiting import wait_until
from tests.service.wire import FORM, PICTURE, check_problem, post


@pytest.fixture
def poisoned(server: RealRedis, start: Start) -> Iterator[TestClient]:
    """A service whose records others may write."""
    with start(records_url=server.url) as client:
        yield client


def test_a_redis_that_hangs_holds_nothing_else_up(server: RealRedis, tiny_bundle: Bundle, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    revoked, kept = make_key(keys, "one"), make_key(keys, "two")
    settings: dict[str, Any] = {"CIN_KEYS": str(keys), "CIN_RECORDS_URL": server.url}
    with served(tiny_bundle.folder, **settings) as service, service.client(kept) as client:
        link = client.post("/predict", files=FORM).json()["attention"]["lesion"]
        with server.hanging():
            _check_hanging(service, link, kept, revoked, keys)
        wait_until(lambda: client.get("/readyz").status_code == 200, seconds=8)
        assert client.post("/predict", files=FORM).status_code == 200
        assert client.get(link).status_code == 200
        with server.hanging():
            began = time.monotonic()
            assert service.end() == 0
            assert time.monotonic() - began < 10


def _check_hanging(service: Served, link: str, kept: str, revoked: str, keys: Path) -> None:
    def timed(method: str, path: str, key: str | None = kept, **sent: Any) -> tuple[int, float]:
        began = time.monotonic()
        with service.client(key) as client:
            return client.request(method, path, **sent).status_code, time.monotonic() - began

    with ThreadPoolExecutor(12) as pool:
        waiting = [pool.submit(timed, "POST", "/predict", files=FORM) for _ in range(6)]
        waiting += [pool.submit(timed, "GET", link) for _ in range(6)]
        time.sleep(0.2)
        [id] = [key.id for key in read_keys(keys).keys if key.client == "one"]
        revoke_key(keys, id, announce=lambda key: None)
        wait_until(lambda: timed("GET", "/model", revoked)[0] == 401, seconds=3)
        for path in ("/model", "/healthz"):
            status, seconds = timed("GET", path)
            assert (status, seconds < 1) == (200, True)
        answered = [done.result() for done in waiting]
    assert {status for status, _ in answered} == {503}
    assert max(seconds for _, seconds in answered) < 2 * DEADLINE_SECONDS + 1
    for path, needed in (("/readyz", None), ("/admission", kept)):
        status, seconds = timed("GET", path, needed)
        assert (status, seconds < 1) == (503, True)


@pytest.mark.parametrize("drips", [False, True])
def test_something_else_in_the_place_of_redis(
    server: RealRedis, drips: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("service.storage.records.DEADLINE_SECONDS", 0.5)

    async def work() -> None:
        records = Records(RedisRecords(server.url, ttl_seconds=60, max_bytes=2**24))
        assert await records.purge() == Purged(0, 0, 0)
        with server.replaced(drips=drips):
            began = time.monotonic()
            outcomes = await asyncio.gather(*(records.get("0" * 32, "one") for _ in range(20)), return_exceptions=True)
            assert all(isinstance(outcome, RecordsError) for outcome in outcomes)
            assert records.failing
            with pytest.raises(RecordsError):
                await records.check()
            assert time.monotonic() - began < 2
            if not drips:
                await asyncio.to_thread(records.close)
                assert time.monotonic() - began < 4
                return
        await records.check()
        assert not records.failing
        records.close()

    asyncio.run(work())
    assert len([line for line in caplog.messages if "did not answer" in line]) == 1


@pytest.mark.parametrize("reply", [b"OK", 2, None, float("nan"), [], [1]])
def test_what_is_no_reply_of_a_script_is_not_taken_for_success(server: RealRedis, reply: object) -> None:
    store = RedisRecords(server.url, ttl_seconds=60, max_bytes=2**24)
    record = Record("one", "{}", maps())
    for script in ("_put", "_delete", "_purge"):  # a Redis that its writers bent
        setattr(store, script, lambda **_: reply)
    for call in (lambda: store.put("0" * 32, record), lambda: store.delete("0" * 32, "one"), store.purge):
        with pytest.raises(RecordsError, match="invalid reply"):
            call()
    store.close()


def test_it_does_not_start_without_an_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(RecordsError):
            RedisRecords(f"redis://127.0.0.1:{silent.getsockname()[1]}/0", ttl_seconds=60, max_bytes=2**24)
        assert time.monotonic() - began < 5


def _changed(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], dict[Any, Any]]:
    """Another prediction in the place of one."""

    def poison(prediction: dict[str, Any]) -> dict[Any, Any]:
        change(prediction)
        return {"prediction": json.dumps(prediction).encode()}

    return poison


@pytest.mark.parametrize(
    "poison",
    [
        lambda _: {"prediction": b""},
        lambda _: {"prediction": b"\xff\xfe"},
        lambda _: {"prediction": b"[" * 100_000},
        lambda _: {"prediction": b"x" * (17 * 2**20)},
        _changed(lambda body: body.pop("decision")),
        _changed(lambda body: body.update(id="0" * 32)),
        _changed(lambda body: body.update(diagnosis=None)),
        _changed(lambda body: body["probabilities"].update(melanoma=float("nan"))),
        _changed(lambda body: body["timings_ms"].update(total=float("nan"))),
        _changed(lambda body: body["lesion"].update(fraction=7)),
        _changed(lambda body: body.update(diagnosis="nevus_is_fine")),
        _changed(lambda body: body["probabilities"].update(melanoma=1.0, nevus=1.0)),
        _changed(lambda body: body["decision"].update(malignant_probability=1.0, threshold=0.1, refer=False)),
        _changed(lambda body: body["decision"].update(refer=None)),
        _changed(lambda body: body["attention"].update(lesion=f"/attention/{'0' * 32}?map=lesion")),
    ],
)
def test_a_prediction_that_is_none_of_ours_is_not_found(
    poisoned: TestClient, server: RealRedis, poison: Callable[[dict[str, Any]], dict[Any, Any]]
) -> None:
    prediction = post(poisoned, PICTURE).json()
    paths = [f"/predictions/{prediction['id']}", prediction["attention"]["lesion"]]
    paths.append(f"{paths[1]}/summary")
    server.client.hset(_name(paths[0]), mapping=poison(prediction))
    for path in paths:
        check_problem(poisoned.get(path), 404)
    assert poisoned.delete(paths[0]).status_code == 204
    assert poisoned.get("/readyz").status_code == 200, "the store works all the same"


def _name(path: str) -> str:
    return "cin:{records}:" + path.rpartition("/")[2]


BOMB = archive_of({"frame.npy": bytes(50_000_000)}, zipfile.ZIP_DEFLATED)
NOT_FINITE = npz(spatial=np.full((2, 2, 3), np.float32("nan")))


@pytest.mark.parametrize("maps", [b"", BOMB, NOT_FINITE, b"x" * (17 * 2**20)], ids=["none", "bomb", "nan", "large"])
def test_maps_that_are_none_of_ours_are_not_found(poisoned: TestClient, server: RealRedis, maps: bytes) -> None:
    prediction = post(poisoned, PICTURE).json()
    link = prediction["attention"]["lesion"]
    server.client.hset(_name(f"/{prediction['id']}"), "maps", maps)
    check_problem(poisoned.get(link), 404)
    check_problem(poisoned.get(f"{link}/summary"), 404)


def test_what_is_no_record_at_all(poisoned: TestClient, server: RealRedis) -> None:
    path = f"/predictions/{'0' * 32}"
    server.client.set(_name(path), "a string")
    check_problem(poisoned.get(path), 404)
    server.client.delete(_name(path))
    server.client.hset(_name(path), "owner", "anyone")
    check_problem(poisoned.get(path), 404)
    server.client.set("cin:{records}:held", "books that are none")
    check_problem(post(poisoned, PICTURE), 503)
    assert poisoned.get("/readyz").status_code == 503
    server.client.flushall()
    assert post(poisoned, PICTURE).status_code == 200
    assert poisoned.get("/readyz").status_code == 200
