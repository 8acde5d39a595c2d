"""Jobs from the request to the results, with a worker beside the service: the answers are those of ``/predict``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.access.keys import create_key, revoke_key
from service.api.error_handlers import problem_of
from service.bundle import Bundle
from service.jobs.dicomweb import Source
from service.jobs.job import PREFIX
from service.jobs.worker import Worker
from service.prediction.predictor import Predictor
from service.runtime import Service
from service.storage.store import RecordsError
from tests.service.real_redis import RealRedis
from tests.service.running import client_of, running
from tests.service.tiny_bundle import dark_square, picture_bytes

PICTURES = [picture_bytes(dark_square(start=start)) for start in (16, 48, 64)]
_OF_ITS_TIME = ("id", "created_at", "expires_at", "timings_ms", "attention")

Scenario = Callable[[httpx.AsyncClient, Service], Awaitable[None]]


def play(
    scenario: Scenario, bundle: Bundle, server: RealRedis, monkeypatch: pytest.MonkeyPatch, **settings: Any
) -> None:
    """Play a scenario with a service that takes jobs; the Redis of tests has no disk."""

    async def no_disk_needed(_: object) -> None:
        return

    monkeypatch.setattr("service.jobs.store.JobStore.require_durable", no_disk_needed)
    settings |= {"records_url": server.url, "jobs_url": server.url}

    async def played() -> None:
        async with asyncio.timeout(30), running(bundle, **settings) as app, client_of(app) as client:
            await scenario(client, app.state.service)

    asyncio.run(played())


def worker_of(service: Service, source: Source | None = None) -> Worker:
    """A worker with the service's own network."""
    assert service.jobs is not None
    parts = service.jobs, service.predictor, service.keys, problem_of, service.metrics.jobs
    return Worker(*parts, in_flight=2, deadline_seconds=10.0, source=source)


@asynccontextmanager
async def working(service: Service, source: Source | None = None) -> AsyncIterator[None]:
    """With a worker."""
    worker = worker_of(service, source)
    task = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        worker.stopping.set()
        await task


async def submit(
    client: httpx.AsyncClient, pictures: list[bytes], data: dict[str, Any] | None = None, **query: str
) -> str:
    """The address of a new job."""
    files = [("image", picture) for picture in pictures]
    sent = await client.post("/v1/jobs", files=files, data=data or {}, params=query)
    assert sent.status_code == 202, sent.text
    assert sent.headers["location"] == f"/v1/jobs/{sent.json()['id']}"
    return str(sent.headers["location"])


async def done(client: httpx.AsyncClient, job: str) -> dict[str, Any]:
    """The status of a job that is done."""
    while True:
        response = await client.get(job)
        assert response.status_code == 200, response.text
        if response.json()["state"] == "done":
            return dict(response.json())
        await asyncio.sleep(0.02)


def lasting(prediction: dict[str, Any]) -> dict[str, Any]:
    """What is the same whenever it is made."""
    return {name: value for name, value in prediction.items() if name not in _OF_ITS_TIME}


def test_results_are_those_of_predict_or_the_problem(
    tiny_bundle: Bundle, server: RealRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(client: httpx.AsyncClient, service: Service) -> None:
        point = service.scheduler.bundle.manifest.operating_points[-1].name
        sent = [PICTURES[0], b"no picture", PICTURES[1]]
        job = await submit(client, sent, {"reference": ["a", "b", "c"]}, operating_point=point)
        assert (await client.get(job)).json()["state"] == "waiting"
        async with working(service):
            status = await done(client, job)
        assert (status["pictures"], status["answered"], status["failed"], status["webhook"]) == (3, 3, 1, None)
        assert "\ncin_jobs_reachable 1.0" in (await client.get("/metrics")).text
        batch = await client.post(
            "/v1/predictions/batch", files=[("image", each) for each in sent], params={"operating_point": point}
        )
        page = (await client.get(f"{job}/results", params={"order": "input", "limit": 2})).json()
        rest = (await client.get(page["next"])).json()
        assert rest["next"] is None
        results = page["results"] + rest["results"]
        assert [(each["index"], each["reference"]) for each in results] == [(0, "a"), (1, "b"), (2, "c")]
        for result, answer in zip(results, batch.json()["answers"], strict=True):
            assert result["problem"] == answer["problem"]
            if answer["prediction"] is not None:
                assert lasting(result["prediction"]) == lasting(answer["prediction"])
                kept = await client.get(f"/v1/predictions/{result['prediction']['id']}")
                assert kept.json() == result["prediction"]
        at = {"prevalence": "0.1"}
        shown = (await client.get(f"{job}/results", params={"order": "input", **at})).json()["results"][0]
        kept = await client.get(f"/v1/predictions/{results[0]['prediction']['id']}", params=at)
        assert shown["prediction"] == kept.json()
        assert (await client.delete(job)).status_code == 204
        assert (await client.get(job)).status_code == 404
        assert (await client.get(f"{job}/results")).status_code == 404
        assert (await client.get(f"/v1/predictions/{results[0]['prediction']['id']}")).status_code == 404

    play(scenario, tiny_bundle, server, monkeypatch)


def test_another_clients_job_is_unknown_and_that_of_a_revoked_key_is_erased(
    tiny_bundle: Bundle, server: RealRedis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "keys.json"
    own, other = (
        {"Authorization": f"Bearer {create_key(path, client, announce=lambda key: None)}"}
        for client in ("clinic", "other")
    )

    async def scenario(client: httpx.AsyncClient, service: Service) -> None:
        files = [("image", PICTURES[0])]
        job = (await client.post("/v1/jobs", files=files, headers=own)).headers["location"]
        for address in (job, f"{job}/results"):
            assert (await client.get(address, headers=other)).status_code == 404
        assert (await client.delete(job, headers=other)).status_code == 404
        assert (await client.get(job, headers=own)).json()["answered"] == 0
        assert service.keys is not None
        revoked = next(name for name in service.keys.named if name.startswith("clinic:"))
        revoke_key(path, revoked.partition(":")[2], announce=lambda key: None)
        await asyncio.to_thread(service.keys.look_again)
        async with working(service):
            while server.client.keys(f"{PREFIX}:*:job"):
                await asyncio.sleep(0.02)
        assert server.client.keys(f"{PREFIX}:*:image:*") == []

    play(scenario, tiny_bundle, server, monkeypatch, keys=path)


def test_what_passes_is_put_off(tiny_bundle: Bundle, server: RealRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    predict = Predictor.predict
    away: list[Exception] = [RecordsError("away"), RecordsError("away")]
    monkeypatch.setattr("service.jobs.worker._LONGEST_DELAY", 0.05)

    async def failing(self: Predictor, data: bytes, *args: Any, **named: Any) -> Any:
        if away:
            raise away.pop()
        return await predict(self, data, *args, **named)

    monkeypatch.setattr(Predictor, "predict", failing)

    async def scenario(client: httpx.AsyncClient, service: Service) -> None:
        job = await submit(client, PICTURES[:1])
        async with working(service):
            assert (await done(client, job))["failed"] == 0
        assert away == []

    play(scenario, tiny_bundle, server, monkeypatch)


def test_a_job_that_is_deleted_while_its_image_is_judged_leaves_nothing(
    tiny_bundle: Bundle, server: RealRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict, begun, go_on = Predictor.predict, asyncio.Event(), asyncio.Event()

    async def held(self: Predictor, data: bytes, *args: Any, **named: Any) -> Any:
        begun.set()
        await go_on.wait()
        return await predict(self, data, *args, **named)

    monkeypatch.setattr(Predictor, "predict", held)

    async def scenario(client: httpx.AsyncClient, service: Service) -> None:
        job = await submit(client, PICTURES[:1])
        async with working(service):
            await begun.wait()
            assert (await client.delete(job)).status_code == 204
            go_on.set()
        await service.records.drain()
        left = [key.decode() for key in server.client.scan_iter("cin:*")]
        assert [key for key in left if len(key.rpartition(":")[2]) == 32] == [], "a prediction is kept"
        assert server.client.keys(f"{PREFIX}:*:image:*") == []

    play(scenario, tiny_bundle, server, monkeypatch)
