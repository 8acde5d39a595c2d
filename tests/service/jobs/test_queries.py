"""Jobs whose images are found by a query: they are listed once, whatever is killed meanwhile."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.bundle import Bundle
from service.jobs.book import Counts as Kept
from service.jobs.dicomweb import DicomwebQuery, InstanceUids
from service.jobs.job import ANSWER, LIST, PREFIX, Item, Job, NewJob
from service.jobs.queue import Queue
from service.jobs.store import JobStore
from service.problems import PACS_AWAY, PACS_FAILED, PACS_REFUSED, TOO_LARGE, ProblemType, ServiceError
from service.runtime import Service
from service.settings import ANSWER_BYTES
from tests.service.jobs.test_killed_workers import Killed, outcomes_in
from tests.service.jobs.test_store import ONE, OWNER, images_in
from tests.service.jobs.test_store import play as play_store
from tests.service.jobs.test_worker import PICTURES, done, play, worker_of, working
from tests.service.real_redis import RealRedis

FOUND = [
    InstanceUids(StudyInstanceUID="2.25.1", SeriesInstanceUID="2.25.2", SOPInstanceUID=f"2.25.3{i}") for i in range(3)
]
ASKED = {"dicomweb": {"server": "pacs", "query": {"StudyDate": "20260101-"}}}


def new_query() -> NewJob:
    asked = DicomwebQuery.model_validate(ASKED["dicomweb"])
    return NewJob(ONE, OWNER, "clinic", "balanced", [], 0, "https://clinic.example.org/cin", asked, 9)


async def created(store: JobStore) -> Job:
    await store.create(new_query(), [], 2**20, 0.5, 60.0)
    job = await store.get(ONE)
    assert job is not None
    return job


def queued(server: RealRedis) -> set[tuple[object, ...]]:
    return Queue(server.client).waiting()


class Directory:
    """A source that has these images. It first fails with the problems that each has in ``failures``, by its
    identifier; that of the search is empty. ``asked`` is what it was asked for."""

    def __init__(self, images: Sequence[bytes], failures: Mapping[str, Sequence[ProblemType]] | None = None) -> None:
        self.images, self.asked = images, list[str]()
        self.failures = {uid: list(problems) for uid, problems in (failures or {}).items()}

    async def search(self, asked: DicomwebQuery, most: int) -> list[InstanceUids]:
        assert (asked.server, asked.query.StudyDate, asked.query.Modality, most) == ("pacs", "20260101-", "DMS", 2000)
        self._fail("")
        return FOUND[: len(self.images)]

    async def retrieve(self, server: str, instance: InstanceUids) -> bytes:
        assert server == "pacs"
        self._fail(instance.SOPInstanceUID)
        return self.images[FOUND.index(instance)]

    def _fail(self, uid: str) -> None:
        self.asked.append(uid)
        if self.failures.get(uid):
            raise ServiceError(self.failures[uid].pop(0), "the PACS is in trouble")


Scenario = Callable[[httpx.AsyncClient, Service, str], Awaitable[None]]


def play_query(
    scenario: Scenario,
    bundle: Bundle,
    server: RealRedis,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    **settings: Any,
) -> None:
    """With the address of a new job."""
    (tmp_path / "servers.toml").write_text('[pacs]\nurl = "http://127.0.0.1:9/dicom-web"\n')
    monkeypatch.setattr("service.jobs.worker._LONGEST_DELAY", 0.05)

    async def played(client: httpx.AsyncClient, service: Service) -> None:
        sent = await client.post("/v1/jobs", json=ASKED)
        assert sent.status_code == 202, sent.text
        await scenario(client, service, sent.headers["location"])

    play(played, bundle, server, monkeypatch, dicomweb_servers=tmp_path / "servers.toml", **settings)


def test_images_are_listed_once_and_nothing_of_them_but_identifiers_is_kept(server: RealRedis) -> None:
    async def scenario(store: JobStore) -> None:
        job = await created(store)
        assert (job.listed, job.status().pictures, job.status().state) == (False, None, "waiting")
        assert queued(server) == {(LIST, ONE)}
        assert await store.count() == Kept(1, 0, 9 * ANSWER_BYTES, 0, 0)
        server.client.delete(*server.client.keys(f"{PREFIX}:queue:*"))
        assert await store.remind() == 1
        assert queued(server) == {(LIST, ONE)}
        assert await store.listed(job, FOUND)
        assert not await store.listed(job, FOUND[:1]), "its message came twice"
        assert queued(server) == {(LIST, ONE), *((ANSWER, ONE, index) for index in range(3))}
        listed = await store.get(ONE)
        assert listed is not None
        assert (listed.status().pictures, listed.status().state) == (3, "running")
        assert await store.count() == Kept(1, 3, 3 * ANSWER_BYTES, 0, 0)
        picture = await store.look(ONE, 1)
        assert picture is not None
        assert (picture.server, picture.item) == ("pacs", Item(instance=FOUND[1]))
        begun = await store.begin(ONE, 1, "a")
        assert begun is not None
        assert begun.image == b""
        assert await store.finish(ONE, 1, "a", '{"prediction":null}', failed=False)
        assert images_in(server) == {0, 2}
        assert await store.erase(ONE, [OWNER]) is not None
        left = {key.decode().removeprefix(PREFIX) for key in server.client.scan_iter()}
        assert {key for key in left if not key.startswith(":queue:")} <= {":begun", ":erased"}

    play_store(server, scenario)


def test_a_job_that_is_erased_while_it_is_listed_stays_erased(server: RealRedis) -> None:
    async def scenario(store: JobStore) -> None:
        job = await created(store)
        assert await store.erase(ONE, [OWNER]) == set()
        assert not await store.listed(job, FOUND)
        await store.list_later(ONE, seconds=1)
        assert [key for key in server.client.scan_iter() if ONE in key.decode()] == []

    play_store(server, scenario)


def test_results_name_their_images_and_are_those_of_the_same_bytes_sent(
    tiny_bundle: Bundle, server: RealRedis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    images = [PICTURES[0], b"no picture", PICTURES[1]]

    async def scenario(client: httpx.AsyncClient, service: Service, job: str) -> None:
        async with working(service, Directory(images)):
            status = await done(client, job)
        assert (status["pictures"], status["answered"], status["failed"], status["problem"]) == (3, 3, 1, None)
        results = (await client.get(f"{job}/results?order=input")).json()["results"]
        assert [each["instance"] for each in results] == [each.model_dump() for each in FOUND]
        batch = await client.post("/v1/predictions/batch", files=[("image", each) for each in images])
        for result, answer in zip(results, batch.json()["answers"], strict=True):
            assert result["problem"] == answer["problem"]
            if answer["prediction"] is not None:
                assert result["prediction"]["probabilities"] == answer["prediction"]["probabilities"]

    play_query(scenario, tiny_bundle, server, monkeypatch, tmp_path)


def test_a_worker_that_is_killed_while_it_lists_leaves_the_job_to_another_one(
    tiny_bundle: Bundle, server: RealRedis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def killed(*_: object, **__: object) -> None:
        raise Killed

    async def scenario(client: httpx.AsyncClient, service: Service, job: str) -> None:
        id, source = job.rpartition("/")[2], Directory(PICTURES)
        with monkeypatch.context() as patched:
            patched.setattr("service.jobs.store.JobStore.listed", killed)
            with pytest.raises(Killed):
                await worker_of(service, source).list_images(id)
        assert (await client.get(job)).json()["pictures"] is None
        await asyncio.gather(*[worker_of(service, source).list_images(id) for _ in range(3)])
        assert server.client.hlen(f"{PREFIX}:queue:{ANSWER}.msgs") == 3
        async with working(service, source):
            assert (await done(client, job))["answered"] == 3

    play_query(scenario, tiny_bundle, server, monkeypatch, tmp_path)


@pytest.mark.parametrize("problem", [PACS_AWAY, PACS_FAILED])
def test_what_passes_is_asked_again(
    tiny_bundle: Bundle, server: RealRedis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, problem: ProblemType
) -> None:
    uid = FOUND[1].SOPInstanceUID

    async def scenario(client: httpx.AsyncClient, service: Service, job: str) -> None:
        source = Directory(PICTURES, {"": [problem] * 3, uid: [problem] * 3})
        async with working(service, source):
            status = await done(client, job)
        assert (status["pictures"], status["answered"], status["failed"]) == (3, 3, 0)
        assert Counter(source.asked) == {"": 4, uid: 4, FOUND[0].SOPInstanceUID: 1, FOUND[2].SOPInstanceUID: 1}

    play_query(scenario, tiny_bundle, server, monkeypatch, tmp_path)


@pytest.mark.parametrize("problem", [PACS_REFUSED, TOO_LARGE])
def test_an_image_that_cannot_be_had_has_its_problem_and_is_in_the_audit_log(
    tiny_bundle: Bundle, server: RealRedis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, problem: ProblemType
) -> None:
    log = tmp_path / "audit.jsonl"

    async def scenario(client: httpx.AsyncClient, service: Service, job: str) -> None:
        source = Directory(PICTURES, {FOUND[1].SOPInstanceUID: [problem]})
        async with working(service, source):
            assert (await done(client, job))["failed"] == 1
        results = (await client.get(f"{job}/results?order=input")).json()["results"]
        assert [each["problem"] and each["problem"]["type"] for each in results] == [None, problem.uri, None]

    play_query(scenario, tiny_bundle, server, monkeypatch, tmp_path, audit=log)
    assert sorted(itertools.chain(*outcomes_in(log).values())) == sorted(["answered", "answered", problem.name])
    assert '"dicomweb":"pacs"' in log.read_text().replace(" ", "")
    assert "2.25." not in log.read_text()


@pytest.mark.parametrize("problem", [PACS_REFUSED, TOO_LARGE, PACS_FAILED, PACS_AWAY])
def test_a_query_that_cannot_be_answered_ends_its_job_with_the_problem(
    tiny_bundle: Bundle, server: RealRedis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, problem: ProblemType
) -> None:
    monkeypatch.setattr("service.jobs.worker.MOST_DELAYS_AWAY", 10)

    async def scenario(client: httpx.AsyncClient, service: Service, job: str) -> None:
        source = Directory(PICTURES, {"": [problem] * 20})
        async with working(service, source):
            status = await done(client, job)
        assert (status["pictures"], status["answered"], status["problem"]["type"]) == (0, 0, problem.uri)
        assert len(source.asked) == {PACS_FAILED: 9, PACS_AWAY: 11}.get(problem, 1)
        assert (await client.get(f"{job}/results")).json() == {"results": [], "next": None}

    play_query(scenario, tiny_bundle, server, monkeypatch, tmp_path)


def test_a_worker_without_servers_says_so(
    tiny_bundle: Bundle, server: RealRedis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def scenario(client: httpx.AsyncClient, service: Service, job: str) -> None:
        async with working(service):
            status = await done(client, job)
        assert status["problem"]["type"] == PACS_REFUSED.uri

    play_query(scenario, tiny_bundle, server, monkeypatch, tmp_path)
