"""A Redis that stops answering, and one that holds what the service never wrote."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from service.access.keys import read_keys, revoke_key
from tests.service.real_redis import RealRedis
from tests.torture.plan import Plan
from tests.torture.rows import Row, at_most, none_of
from tests.torture.served import Served
from tests.torture.strangers import make_key

# Two calls to a store, each within its deadline, and what the machine adds.
MOST_SECONDS = 10.0
QUICK = ("/model", "/healthz", "/readyz")
CLIENTS = 8


def check(plan: Plan, picture: Path) -> Iterator[Row]:
    """Requests, a revocation and readiness while it is stopped; then it goes on."""
    if shutil.which("redis-server") is None:
        return
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        keys = folder / "keys.json"
        key, revoked = make_key(keys, "clinic"), make_key(keys, "former")
        redis = RealRedis(folder)
        stack.callback(redis.stop)
        settings = {"CIN_KEYS": str(keys), "CIN_RECORDS_URL": redis.url}
        served = stack.enter_context(Served(plan.settings() | settings, key=key))
        client = stack.enter_context(httpx.Client(base_url=served.url, timeout=120.0, headers=_bearer(key)))
        files = {"image": picture.read_bytes()}
        prediction = client.post("/predict", files=files).json()
        yield from _poisoned(client, redis, files)
        with redis.hanging(), ThreadPoolExecutor(2 * CLIENTS) as pool:
            waiting = [
                pool.submit(_timed, call)
                for call in (
                    lambda: client.post("/predict", files=files),
                    lambda: client.get(prediction["attention"]["lesion"]),
                )
                for _ in range(CLIENTS)
            ]
            time.sleep(0.2)
            for stored in read_keys(keys).keys:
                if stored.client == "former":
                    revoke_key(keys, stored.id, announce=lambda key: None)
            took = _seconds_until(lambda: client.get("/model", headers=_bearer(revoked)).status_code == 401)
            quick = [_timed(partial(client.get, path)) for path in QUICK for _ in range(3)]
            answered = [done.result() for done in waiting]
            unready = client.get("/readyz").status_code
        ready = _seconds_until(lambda: client.get("/readyz").status_code == 200)
        again = client.post("/predict", files=files).status_code
    name = "Redis stopped"
    yield none_of(
        f"{name}: neither 503 nor 504 for what needs it", sum(status not in (503, 504) for status, _ in answered)
    )
    yield at_most(f"{name}: seconds of the slowest refusal", max(seconds for _, seconds in answered), MOST_SECONDS)
    yield at_most(f"{name}: seconds of the slowest of {', '.join(QUICK)}", max(s for _, s in quick), 2)
    yield at_most(f"{name}: seconds that a revoked key lives", took, 4)
    yield none_of(f"{name}: called ready", int(unready != 503))
    yield at_most(f"{name}: seconds until it is ready after it goes on", ready, MOST_SECONDS)
    yield none_of(f"{name}: not answered afterwards", int(again != 200))


def _poisoned(client: httpx.Client, redis: RealRedis, files: dict[str, bytes]) -> Iterator[Row]:
    """What is in Redis changes under the service: truncated, of another schema, of another prediction."""
    prediction = client.post("/predict", files=files).json()
    name = f"cin:{{records}}:{prediction['id']}"
    whole: dict[Any, Any] = redis.client.hgetall(name)
    paths = [f"/predictions/{prediction['id']}", prediction["attention"]["lesion"]]
    wrong = 0
    for field, values in {
        b"prediction": (b"", b"{}", b"\xff", whole[b"prediction"][:-9], b"[" * 100_000),
        b"maps": (b"", b"PK", whole[b"maps"][:-9], whole[b"maps"][9:], bytes(20_000_000)),
    }.items():
        for value in values:
            redis.client.hset(name, mapping={**whole, field: value})
            # A map is not read for its prediction.
            for path in paths if field == b"prediction" else paths[1:]:
                wrong += client.get(path).status_code not in (404, 503)
    redis.client.hset(name, mapping=whole)
    wrong += sum(client.get(path).status_code != 200 for path in paths)
    yield none_of("records in Redis that are none (15 reads): anything but 404 and 503", wrong)


def _timed(call: Callable[[], httpx.Response]) -> tuple[int, float]:
    began = time.monotonic()
    status = call().status_code
    return status, time.monotonic() - began


def _seconds_until(condition: Callable[[], bool]) -> float:
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > 60:
            return float("inf")
        time.sleep(0.1)
    return time.monotonic() - began


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}
