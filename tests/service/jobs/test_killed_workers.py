"""What workers leave that are killed or stand still: an image gets one result, and one answer in the audit log."""

from __future__ import annotations

import asyncio
import json
import pkgutil
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.bundle import Bundle
from service.prediction.predictor import Predictor
from service.runtime import Service
from tests.service.jobs.test_worker import PICTURES, play, submit, worker_of
from tests.service.real_redis import RealRedis
from tests.service.tiny_bundle import dark_square, picture_bytes

POISON = picture_bytes(dark_square(start=32))


class Killed(BaseException):
    """What ends a process."""


def test_an_image_that_ends_workers_is_given_up_and_works_alone_from_the_second_try(
    tiny_bundle: Bundle, server: RealRedis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    predict, at_work, together = Predictor.predict, set[bytes](), []

    async def poisoned(self: Predictor, data: bytes, *args: Any, **named: Any) -> Any:
        at_work.add(data)
        await asyncio.sleep(0.05)  # others begin
        if POISON in at_work:
            together.append(len(at_work))
        at_work.remove(data)
        if data == POISON:
            raise Killed
        return await predict(self, data, *args, **named)

    monkeypatch.setattr(Predictor, "predict", poisoned)
    log = tmp_path / "audit.jsonl"

    async def scenario(client: httpx.AsyncClient, service: Service) -> None:
        job = await submit(client, [POISON, *PICTURES])
        id = job.rpartition("/")[2]
        worker = worker_of(service)

        async def answered(*indices: int) -> list[BaseException | None]:
            return await asyncio.gather(*[worker.answer(id, i) for i in indices], return_exceptions=True)

        assert [type(each) for each in await answered(0, 1)] == [Killed, type(None)]
        assert [type(each) for each in await answered(0, 2)] == [Killed, type(None)]
        assert [type(each) for each in await answered(0, 3)] == [Killed, type(None)]
        assert together[0] == 2, "or nothing is shown"
        assert set(together[1:]) == {1}
        assert await answered(0) == [None]
        results = (await client.get(f"{job}/results?order=input")).json()["results"]
        assert [each["problem"] and each["problem"]["type"] for each in results] == [
            "urn:cin:problem:internal-error",
            None,
            None,
            None,
        ]

    play(scenario, tiny_bundle, server, monkeypatch, audit=log)
    outcomes = [line for line in log.read_text().splitlines() if '"prediction"' in line]
    assert sum('"answered"' in line for line in outcomes) == 3
    assert sum('"internal-error"' in line for line in outcomes) == 1


def outcomes_in(log: Path) -> dict[str, list[str]]:
    """What the audit log says of each prediction, in this order."""
    found: dict[str, list[str]] = {}
    for entry in map(json.loads, log.read_text(encoding="utf-8").splitlines()):
        if entry["what"] == "prediction":
            found.setdefault(entry["id"], []).append(entry["outcome"])
    return found


def test_what_a_killed_worker_kept_is_rolled_back_before_the_image_is_tried_again(
    tiny_bundle: Bundle, server: RealRedis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log = tmp_path / "audit.jsonl"
    made: list[str] = []

    async def killed(*_: object, **__: object) -> None:
        raise Killed

    async def scenario(client: httpx.AsyncClient, service: Service) -> None:
        job = await submit(client, PICTURES[:1], {"lesion": "L-1", "visit": "2026-01-02"})
        id = job.rpartition("/")[2]
        with monkeypatch.context() as patched:
            patched.setattr("service.jobs.store.JobStore.finish", killed)
            with pytest.raises(Killed):
                await worker_of(service).answer(id, 0)
        await worker_of(service).answer(id, 0)
        await worker_of(service).answer(id, 0)  # its message may come twice
        (result,) = (await client.get(f"{job}/results")).json()["results"]
        made.append(result["prediction"]["id"])
        assert (await client.get(f"/v1/predictions/{made[0]}")).json() == result["prediction"]
        (visit,) = (await client.get("/v1/lesions/L-1")).json()["visits"]
        assert (visit["num_images"], [each["id"] for each in visit["images"]]) == (1, made)

    play(scenario, tiny_bundle, server, monkeypatch, audit=log, ledger=tmp_path / "ledger.sqlite")
    outcomes = outcomes_in(log)
    assert outcomes.pop(made[0]) == ["answered"]
    assert list(outcomes.values()) == [["answered", "given-up"]]


@pytest.mark.parametrize(
    "stands_in",
    [
        "service.storage.records:Records.put",
        "service.audit.log:AuditLog.record",
        "service.jobs.store:JobStore.finish",
    ],
)
def test_a_worker_that_stood_still_gives_no_second_result_and_takes_back_what_it_kept(
    tiny_bundle: Bundle, server: RealRedis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stands_in: str
) -> None:
    """It goes on after its image was given to another one, which answered it."""
    log, made, stood, go_on = tmp_path / "audit.jsonl", list[str](), asyncio.Event(), asyncio.Event()
    usual = pkgutil.resolve_name(stands_in)

    async def standing(*args: Any, **named: Any) -> Any:
        if not stood.is_set():
            stood.set()
            await go_on.wait()
        return await usual(*args, **named)

    async def scenario(client: httpx.AsyncClient, service: Service) -> None:
        job = await submit(client, PICTURES[:1])
        id = job.rpartition("/")[2]
        monkeypatch.setattr(stands_in.replace(":", "."), standing)
        slow = asyncio.create_task(worker_of(service).answer(id, 0))
        await stood.wait()
        await worker_of(service).answer(id, 0)
        go_on.set()
        await slow
        await service.records.drain()
        (result,) = (await client.get(f"{job}/results")).json()["results"]
        made.append(result["prediction"]["id"])
        assert (await client.get(f"/v1/predictions/{made[0]}")).json() == result["prediction"]
        (other,) = outcomes_in(log).keys() - made
        assert (await client.get(f"/v1/predictions/{other}")).status_code == 404

    play(scenario, tiny_bundle, server, monkeypatch, audit=log)
    outcomes = outcomes_in(log)
    assert outcomes.pop(made[0]) == ["answered"]
    ((*_, last),) = outcomes.values()
    assert last == "given-up"
