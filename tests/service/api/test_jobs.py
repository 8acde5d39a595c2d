"""What ``/v1/jobs`` refuses, and what it says where no jobs are taken."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.api.error_handlers import problem_of
from service.jobs.job import JobsError
from tests.service.conftest import Start
from tests.service.real_redis import RealRedis
from tests.service.wire import PICTURE, check_problem

FILES = [("image", PICTURE)]
UNKNOWN = f"/v1/jobs/{'0' * 32}"


@pytest.fixture
def taking(start: Start, server: RealRedis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[TestClient]:
    """A service that takes jobs of up to three images."""

    async def no_disk_needed(_: object) -> None:
        return

    monkeypatch.setattr("service.jobs.store.JobStore.require_durable", no_disk_needed)
    limits = {"job_pictures": 3, "job_max_bytes": 4096, "jobs_max_bytes": 32 * 2**20}
    webhooks = {"webhook_origins": ("https://clinic.example.org",), "webhook_key_file": tmp_path / "key"}
    (tmp_path / "servers.toml").write_text('[pacs]\nurl = "http://127.0.0.1:9/dicom-web"\n')
    urls = {"records_url": server.url, "jobs_url": server.url, "dicomweb_servers": tmp_path / "servers.toml"}
    with start(**urls, **limits, **webhooks) as client:
        yield client


def test_a_service_without_jobs_says_what_to_set(client: TestClient) -> None:
    check_problem(client.post("/v1/jobs", files=FILES), 409, "CIN_JOBS_URL", name="no-jobs")
    check_problem(client.get(UNKNOWN), 409, "CIN_JOBS_URL", name="no-jobs")
    assert client.get("/v1/model").json()["takes_jobs"] is False


def test_what_cannot_be_a_job_is_refused_before_it_is_kept(taking: TestClient, server: RealRedis) -> None:
    assert taking.get("/v1/model").json()["takes_jobs"] is True
    check_problem(taking.post("/v1/jobs", content=PICTURE, headers={"content-type": "image/png"}), 415, "image")
    check_problem(taking.post("/v1/jobs", files=FILES * 4), 400, "one to 3 files")
    check_problem(taking.post("/v1/jobs", files=[("image", bytes(5000))]), 413, "4,096")
    check_problem(taking.post("/v1/jobs", files=FILES, params={"operating_point": "none"}), 400, "operating_point")
    check_problem(taking.post("/v1/jobs", files=FILES, data={"lesion": "L-1"}), 409, "CIN_LEDGER", name="no-ledger")
    refused = taking.post("/v1/jobs", files=FILES, params={"webhook_url": "http://169.254.169.254/"})
    check_problem(refused, 400, "CIN_WEBHOOK_ORIGINS")
    assert server.client.keys("cin:{jobs}:[0-9a-f]*:*") == []
    assert server.client.exists("cin:{jobs}:book", "cin:{jobs}:queue:answer.msgs") == 0


def test_an_unknown_job_is_404(taking: TestClient) -> None:
    for path in (UNKNOWN, f"{UNKNOWN}/results", "/v1/jobs/../keys"):
        check_problem(taking.get(path), 404)
    check_problem(taking.delete(UNKNOWN), 404, "no such job")
    check_problem(taking.get(f"{UNKNOWN}/results", params={"limit": 0}), 400, "limit")


def test_a_webhook_that_is_allowed_is_kept_with_the_job(taking: TestClient) -> None:
    sent = taking.post("/v1/jobs", files=FILES, params={"webhook_url": "https://clinic.example.org/cin"})
    assert (sent.status_code, sent.json()["webhook"], sent.json()["state"]) == (202, "waiting", "waiting")
    page = taking.get(sent.json()["results"]).json()
    assert page["results"] == []
    assert taking.get(page["next"]).json() == page


def test_there_is_a_limit_to_all_jobs(taking: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.jobs.book.MOST_JOBS", 2)
    sent = [taking.post("/v1/jobs", files=FILES) for _ in range(3)]
    assert [each.status_code for each in sent] == [202, 202, 429]
    check_problem(sent[2], 429, "no room", name="jobs-full")
    assert sent[2].headers["retry-after"] == "60"
    assert taking.delete(sent[0].headers["location"]).status_code == 204
    assert taking.post("/v1/jobs", files=FILES).status_code == 202


def test_a_redis_that_does_not_keep_a_job_takes_none(start: Start, server: RealRedis) -> None:
    with start(records_url=server.url, jobs_url=server.url) as client:
        check_problem(client.post("/v1/jobs", files=FILES), 503)
        assert client.post("/predict", files=FILES).status_code == 200
    assert problem_of(JobsError("the address of the machine")).detail.find("machine") == -1


def query(server: str = "pacs", **matching: object) -> dict[str, object]:
    """The body of a job with a query."""
    return {"dicomweb": {"server": server, "query": matching}}


def test_a_query_is_taken_before_it_is_answered(taking: TestClient) -> None:
    asked = query(StudyDate="20260101-20260131", StudyInstanceUID="2.25.1,2.25.2")
    sent = taking.post("/v1/jobs", json=asked, params={"webhook_url": "https://clinic.example.org/cin"})
    assert (sent.status_code, sent.json()["pictures"], sent.json()["webhook"]) == (202, None, "waiting")
    assert taking.get(sent.headers["location"]).json() == sent.json()
    page = taking.get(sent.json()["results"]).json()
    assert (page["results"], taking.get(page["next"]).json()) == ([], page)
    assert taking.get(f"{sent.json()['results']}?order=input").json()["results"] == []
    assert taking.delete(sent.headers["location"]).status_code == 204
    check_problem(taking.get(sent.headers["location"]), 404)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (query("other"), "none of those that CIN_DICOMWEB_SERVERS names for this client"),
        (query("http://169.254.169.254/"), "server"),
        (query(PatientName="Quux"), "not permitted"),
        (query(StudyDate="2026-01-01"), "StudyDate"),
        (query(StudyDate="20260101&PatientName=Quux"), "StudyDate"),
        (query(StudyInstanceUID="../../patients"), "StudyInstanceUID"),
        (query(StudyInstanceUID=["2.25.1"]), "StudyInstanceUID"),
        (query(Modality="DMS\n"), "Modality"),
        (query(StudyInstanceUID="1" * 1601), "StudyInstanceUID"),
        ({"dicomweb": {"server": "pacs", "url": "http://127.0.0.1:9/"}}, "not permitted"),
        ({}, "dicomweb"),
        ([], "object"),
    ],
)
def test_a_query_says_what_may_be_asked_of_a_server_that_is_allowed(
    taking: TestClient, server: RealRedis, body: object, said: str
) -> None:
    refused = taking.post("/v1/jobs", json=body)
    check_problem(refused, 400, said)
    assert "Quux" not in refused.text
    assert server.client.keys("cin:{jobs}:[0-9a-f]*:*") == []


def test_a_query_takes_room_for_all_that_it_may_find(taking: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.jobs.job.ANSWER_BYTES", 6 * 2**20)
    sent = [taking.post("/v1/jobs", json=query()) for _ in range(2)]
    assert [each.status_code for each in sent] == [202, 429]


def test_a_service_without_servers_takes_no_query(
    start: Start, server: RealRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_disk_needed(_: object) -> None:
        return

    monkeypatch.setattr("service.jobs.store.JobStore.require_durable", no_disk_needed)
    with start(records_url=server.url, jobs_url=server.url) as client:
        check_problem(client.post("/v1/jobs", json=query()), 400, "CIN_DICOMWEB_SERVERS")
        check_problem(client.post("/v1/jobs", content=b"{" * 5000, headers={"content-type": "application/json"}), 413)
