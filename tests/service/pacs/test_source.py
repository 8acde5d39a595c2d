"""Jobs by a query against a real Orthanc: its images are answered as if they had been sent, whatever dies meanwhile."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import uid

from service.bundle import Bundle
from service.pacs.source import PacsSource, open_source
from service.runtime import Service
from tests.paths import REPOSITORY
from tests.service.imaging.dicoms import PATIENT
from tests.service.jobs.test_worker import done, lasting, play, working
from tests.service.pacs.orthanc import PASSWORD, USER, Orthanc, missing_orthanc, source, uid_of
from tests.service.real_redis import RealRedis
from tests.service.served import served

needs_orthanc = pytest.mark.skipif(missing_orthanc() is not None, reason=missing_orthanc() or "")

MANY = 60
# A worker that finds out soon that another one was killed.
HURRIED = "from service.jobs import queue; queue.DEAD_SECONDS = 2.0; from service.cli.main import main; main()"

Scenario = Callable[[httpx.AsyncClient, Service, PacsSource], Awaitable[None]]


def servers_at(folder: Path, url: str, password: str = PASSWORD) -> Path:
    """A file with the server ``pacs``."""
    (folder / "password").write_text(f"{password}\n")
    file = folder / "servers.toml"
    file.write_text(f'[pacs]\nurl = "{url}"\nuser = "{USER}"\npassword_file = "{folder / "password"}"\n')
    return file


def play_source(
    scenario: Scenario, bundle: Bundle, redis: RealRedis, patch: pytest.MonkeyPatch, servers: Path, **settings: Any
) -> None:
    async def played(client: httpx.AsyncClient, service: Service) -> None:
        async with open_source(service.dicomweb, service.settings) as found:
            await scenario(client, service, found)

    patch.setattr("service.jobs.worker._LONGEST_DELAY", 0.2)
    play(played, bundle, redis, patch, dicomweb_servers=servers, **settings)


def asking(**matching: str) -> dict[str, Any]:
    return {"dicomweb": {"server": "pacs", "query": matching}}


async def submit(client: httpx.AsyncClient, **matching: str) -> str:
    sent = await client.post("/v1/jobs", json=asking(**matching))
    assert sent.status_code == 202, sent.text
    return str(sent.headers["location"])


async def results_of(client: httpx.AsyncClient, job: str) -> dict[str, dict[str, Any]]:
    """All of them, by the image that each names; no image has two."""
    results = (await client.get(f"{job}/results?limit=200")).json()["results"]
    by_image = {each["instance"]["SOPInstanceUID"]: each for each in results}
    assert len(by_image) == len(results)
    return by_image


@pytest.fixture
def durable(tmp_path: Path) -> Iterator[RealRedis]:
    """A Redis that writes all that it is given to its disk."""
    (tmp_path / "redis").mkdir()
    redis = RealRedis(tmp_path / "redis", durable=True)
    yield redis
    redis.stop()


@needs_orthanc
def test_what_a_query_finds_is_answered_like_the_same_files_sent(
    orthanc: Orthanc,
    tiny_bundle: Bundle,
    durable: RealRedis,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: Any,
) -> None:
    caplog.set_level(logging.INFO)
    files = {
        uid_of(0): source(0),
        uid_of(1): source(1, Columns=65),
        uid_of(2): source(2, sop_class=uid.EncapsulatedPDFStorage),
        uid_of(3): source(3, study=2, StudyDate="20261130"),
    }
    others = source(4, StudyDate="20261031", study=3), source(5, Modality="XC", study=4)
    orthanc.put(*files.values(), *others)
    log = tmp_path / "audit.jsonl"

    async def scenario(client: httpx.AsyncClient, service: Service, found: PacsSource) -> None:
        job = await submit(client, StudyDate="20261101-20261130")
        async with working(service, found):
            status = await done(client, job)
        assert (status["pictures"], status["answered"], status["failed"], status["problem"]) == (4, 4, 2, None)
        results = await results_of(client, job)
        assert results.keys() == files.keys()
        assert results[uid_of(3)]["instance"] == {
            "StudyInstanceUID": "2.25.1002",
            "SeriesInstanceUID": "2.25.2002",
            "SOPInstanceUID": uid_of(3),
        }
        for image, data in files.items():
            sent = await client.post("/predict", files={"image": data})
            if sent.status_code == 200:
                assert lasting(results[image]["prediction"]) == lasting(sent.json())
            else:
                assert results[image]["problem"] == sent.json()
        assert results[uid_of(2)]["problem"]["type"] == "urn:cin:problem:unsupported-type"
        both = await submit(client, StudyInstanceUID="2.25.1002,2.25.1003")
        one = await submit(client, SOPInstanceUID=uid_of(5), Modality="XC")
        async with working(service, found):
            assert [(await done(client, each))["answered"] for each in (both, one)] == [2, 1]
        assert (await results_of(client, both)).keys() == {uid_of(3), uid_of(4)}
        assert (await results_of(client, one)).keys() == {uid_of(5)}

    play_source(scenario, tiny_bundle, durable, monkeypatch, servers_at(tmp_path, orthanc.url), audit=log)
    kept = b"".join(path.read_bytes() for path in durable.folder.rglob("*") if path.is_file())
    assert b"2.25.1002" in kept, "identifiers are kept"
    assert b"DICM" not in kept
    said = log.read_text() + "".join(each.getMessage() for each in caplog.records if each.name.startswith("service"))
    for secret in (*PATIENT.values(), "Nachname", PASSWORD):
        assert secret.encode() not in kept, secret
        assert secret not in said, secret
    assert "2.25.1002" not in said


@needs_orthanc
def test_a_query_that_finds_nothing_or_too_much_or_no_access(
    orthanc: Orthanc, tiny_bundle: Bundle, server: RealRedis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    orthanc.put(*(source(number) for number in range(3)))

    async def scenario(client: httpx.AsyncClient, service: Service, found: PacsSource) -> None:
        nothing, all_of_it = await submit(client, StudyDate="19990101"), await submit(client)
        async with working(service, found):
            status = await done(client, nothing)
            assert (status["pictures"], status["answered"], status["problem"]) == (0, 0, None)
            assert (await client.get(f"{nothing}/results")).json() == {"results": [], "next": None}
            status = await done(client, all_of_it)
            assert (status["pictures"], status["problem"]["type"]) == (0, "urn:cin:problem:too-large")
            assert "more than 2 images" in status["problem"]["detail"]

    servers = servers_at(tmp_path, orthanc.url)
    play_source(scenario, tiny_bundle, server, monkeypatch, servers, job_pictures=2)

    async def refused(client: httpx.AsyncClient, service: Service, found: PacsSource) -> None:
        job = await submit(client)
        async with working(service, found):
            status = await done(client, job)
        assert status["problem"]["type"] == "urn:cin:problem:pacs-refused"

    play_source(refused, tiny_bundle, server, monkeypatch, servers_at(tmp_path, orthanc.url, "wrong"))


@needs_orthanc
def test_a_pacs_that_dies_and_comes_back_loses_no_image(
    tiny_bundle: Bundle,
    server: RealRedis,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    orthanc = Orthanc(tmp_path)
    orthanc.put(*(source(number) for number in range(MANY)))

    def said(text: str) -> int:
        return sum(text in record.message for record in caplog.records if record.name == "service.pacs.source")

    async def scenario(client: httpx.AsyncClient, service: Service, found: PacsSource) -> None:
        job = await submit(client)
        async with working(service, found):
            while (await client.get(job)).json()["answered"] < 5:
                await asyncio.sleep(0.01)
            orthanc.kill()
            while not said("cannot be reached"):
                await asyncio.sleep(0.01)
            assert (await client.get(job)).json()["answered"] < MANY
            await asyncio.to_thread(orthanc.start)
            status = await done(client, job)
        assert (status["answered"], status["failed"]) == (MANY, 0)
        assert (await results_of(client, job)).keys() == {uid_of(number) for number in range(MANY)}

    try:
        play_source(scenario, tiny_bundle, server, monkeypatch, servers_at(tmp_path, orthanc.url))
    finally:
        orthanc.kill()
    assert (said("cannot be reached"), said("answers again")) == (1, 1)


@needs_orthanc
def test_killed_workers_lose_no_image_and_answer_none_twice(
    orthanc: Orthanc, tiny_bundle: Bundle, durable: RealRedis, server: RealRedis, tmp_path: Path
) -> None:
    orthanc.put(*(source(number) for number in range(MANY)))
    log = tmp_path / "audit.jsonl"
    settings: dict[str, Any] = {
        "CIN_RECORDS_URL": server.url,
        "CIN_JOBS_URL": durable.url,
        "CIN_AUDIT": str(log),
        "CIN_DICOMWEB_SERVERS": str(servers_at(tmp_path, orthanc.url)),
    }
    of_worker = {
        **settings,
        "PYTHONPATH": str(REPOSITORY),
        "CIN_BUNDLE": str(tiny_bundle.folder),
        "CIN_PROVIDER": "cpu",
        "CIN_INFERENCE_THREADS": "1",
    }

    def worker() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", HURRIED, "jobs", "work"], env=of_worker)

    async def scenario(url: str) -> dict[str, dict[str, Any]]:
        async with asyncio.timeout(120), httpx.AsyncClient(base_url=url) as client:
            job = await submit(client)
            for answered in (1, MANY // 3, 2 * MANY // 3):
                process = worker()
                try:
                    while (await client.get(job)).json()["answered"] < answered:
                        await asyncio.sleep(0.01)
                finally:
                    process.kill()
                    process.wait()
            assert (await client.get(job)).json()["state"] == "running"
            process = worker()
            try:
                status = await done(client, job)
            finally:
                process.terminate()
                process.wait(30)
            assert (status["pictures"], status["answered"], status["failed"]) == (MANY, MANY, 0)
            return await results_of(client, job)

    with served(tiny_bundle.folder, **settings) as service:
        results = asyncio.run(scenario(service.url))
    assert results.keys() == {uid_of(number) for number in range(MANY)}
    outcomes: dict[str, list[str]] = {}
    for entry in map(json.loads, log.read_text().splitlines()):
        if entry["what"] == "prediction":
            outcomes.setdefault(entry["id"], []).append(entry["outcome"])
    for result in results.values():
        assert outcomes.pop(result["prediction"]["id"]) == ["answered"]
    assert Counter(last for *_, last in outcomes.values()).keys() <= {"given-up"}
