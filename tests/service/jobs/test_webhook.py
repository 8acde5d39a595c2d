"""The end of a job is announced where the operator allows it, signed, and until it arrives."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry

from service.jobs.job import ANNOUNCE, PREFIX, NewJob
from service.jobs.metrics import JobMetrics
from service.jobs.queue import Queue
from service.jobs.store import JobStore
from service.jobs.webhook_rules import WebhookError, read_key, require_allowed, signature
from service.jobs.webhook_sender import MOST_TRIES, Webhooks
from tests.service.jobs.test_store import ONE, answer, create, new_job
from tests.service.real_redis import RealRedis

ORIGINS = ("https://clinic.example.org", "http://10.0.0.7:8080", "http://[fd00::7]:8080")
URL = "https://clinic.example.org/cin?room=1"
KEY = bytes(range(32))


@pytest.mark.parametrize(
    "url", [URL, "https://clinic.example.org", "http://10.0.0.7:8080/a/b", "http://[fd00::7]:8080/"]
)
def test_an_address_at_an_allowed_origin_is_one(url: str) -> None:
    require_allowed(url, ORIGINS)
    parsed = httpx.URL(url)  # whoever parses it finds the same host
    assert parsed.host in ("clinic.example.org", "10.0.0.7", "fd00::7")


@pytest.mark.parametrize(
    "url",
    [
        "http://clinic.example.org/",
        "https://clinic.example.org:8443/",
        "https://clinic.example.org.evil.example/",
        "https://clinic.example.org@evil.example/",
        "https://user:secret@clinic.example.org/",
        "https://evil.example\\@clinic.example.org/",
        "https://clinic.example.org\\.evil.example/",
        "https://clinic.example.org#@evil.example/",
        "https://CLINIC.example.org/",
        "https://clinic.example.org/\r\nHost: evil.example",
        "https://clinic.example.org/\n",
        " https://clinic.example.org/",
        "//clinic.example.org/",
        "file:///etc/passwd",
        "http://127.0.0.1/",
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.7/",
        "http://0x0a000007:8080/",
        "",
        f"https://clinic.example.org/{'a' * 2000}",
    ],
)
def test_any_other_address_is_refused(url: str) -> None:
    with pytest.raises(WebhookError, match="CIN_WEBHOOK_ORIGINS"):
        require_allowed(url, ORIGINS)


def test_a_key_comes_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "key"
    with pytest.raises(WebhookError, match="No such file"):
        read_key(path)
    for wrong in ("", "whsec_", "whsec_c2hvcnQ=", "not base64!", "ä"):
        path.write_text(wrong, encoding="utf-8")
        with pytest.raises(WebhookError, match="openssl rand"):
            read_key(path)
    path.write_text(f"whsec_{base64.b64encode(KEY).decode()}\n", encoding="ascii")
    assert read_key(path) == KEY


def _announce(server: RealRedis, statuses: list[int], new: NewJob, *, until: str) -> list[httpx.Request]:
    """What was sent to a server that answers with these statuses, the last of them for good."""
    sent: list[httpx.Request] = []

    def reply(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        status = statuses[min(len(sent), len(statuses)) - 1]
        return httpx.Response(status, headers={"Location": "http://127.0.0.1/"})

    async def played() -> str | None:
        store = JobStore(server.url)
        await create(store, new)
        await answer(store, 0)
        metrics, transport = JobMetrics(CollectorRegistry()), httpx.MockTransport(reply)
        async with Webhooks(store, KEY, ORIGINS, None, metrics, transport) as webhooks:
            # As its messages ask, without their delays.
            for _ in range(MOST_TRIES + 1):
                server.client.delete(f"{PREFIX}:queue:{ANNOUNCE}.msgs", f"{PREFIX}:queue:{ANNOUNCE}.DQ.msgs")
                await webhooks.announce(new.id)
                job = await store.get(new.id)
                assert job is not None
                assert ((ANNOUNCE, new.id) in Queue(server.client).waiting()) is (job.notified == "waiting")
        store.close()
        assert job is not None
        return job.notified

    notified = asyncio.run(played())
    assert notified == until
    return sent


def test_it_is_sent_again_until_it_is_taken_with_the_same_id_and_a_signature(server: RealRedis) -> None:
    sent = _announce(server, [500, 302, 204], new_job(num=1, webhook=URL), until="delivered")
    assert [(each.method, str(each.url)) for each in sent] == [("POST", URL)] * 3, "redirects are not followed"
    for each in sent:
        headers, body = each.headers, each.content
        signed = b".".join((headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body))
        expected = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{expected}"
        assert headers["webhook-id"] == ONE
    said = json.loads(sent[0].content)
    assert (said["type"], said["data"]["id"], said["data"]["state"]) == ("job.done", ONE, "done")
    assert said["data"]["results"] == f"/v1/jobs/{ONE}/results"


def test_a_server_that_never_takes_it_is_given_up(server: RealRedis) -> None:
    sent = _announce(server, [503], new_job(num=1, webhook=URL), until="given_up")
    assert len(sent) == MOST_TRIES


def test_an_origin_that_is_no_longer_allowed_is_not_addressed(server: RealRedis) -> None:
    sent = _announce(server, [204], new_job(num=1, webhook="https://former.example.org/"), until="given_up")
    assert sent == []


def test_a_signature_is_that_of_standard_webhooks() -> None:
    # The example of the specification's reference libraries.
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signed = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
