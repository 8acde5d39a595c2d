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
    with start(records_url=server.url, jobs_url=server.url, **limits, **webhooks) as client:
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
