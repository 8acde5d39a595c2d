"""``CIN_CORS_ORIGINS``: pages of other sites that may use the API, and request ids."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from pydantic import ValidationError

from service.settings import Settings
from tests.service.conftest import Start
from tests.service.tiny_bundle import dark_square, picture_bytes
from tests.service.wire import check_problem

ALLOWED, OTHER = "https://viewer.example.org", "https://elsewhere.example.org"
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,idempotency-key"}
HOST = {"Host": "localhost:8000"}
PICTURE: dict[str, Any] = {"image": picture_bytes(dark_square())}


@pytest.mark.parametrize(
    "asked",
    [{"Origin": OTHER}, {"Access-Control-Request-Method": "PUT"}, {"Access-Control-Request-Headers": "x-other"}],
)
def test_a_question_that_is_refused_gets_a_problem(start: Start, asked: dict[str, str]) -> None:
    with start(cors_origins=(ALLOWED,)) as client:
        answer = client.options("/v1/predictions", headers={**HOST, **PREFLIGHT, "Origin": ALLOWED, **asked})
    check_problem(answer, 403, "CIN_CORS_ORIGINS")
    assert answer.headers.get("access-control-allow-origin") in (ALLOWED, None)
    assert (OTHER in asked.values()) == ("access-control-allow-origin" not in answer.headers)
    assert answer.headers["vary"].startswith("Origin")


def test_a_page_of_an_allowed_origin_may_send_pictures(start: Start) -> None:
    with start(cors_origins=(ALLOWED,)) as client:
        asked = client.options("/v1/predictions", headers={**HOST, **PREFLIGHT, "Origin": ALLOWED})
        assert asked.status_code == 200
        assert asked.headers["access-control-allow-origin"] == ALLOWED
        assert "idempotency-key" in asked.headers["access-control-allow-headers"].lower()
        sent = {**HOST, "Origin": ALLOWED, "Sec-Fetch-Site": "cross-site"}
        answer = client.post("/v1/predictions", files=PICTURE, headers=sent)
    assert answer.status_code == 201
    assert answer.headers["access-control-allow-origin"] == ALLOWED
    assert "location" in answer.headers["access-control-expose-headers"].lower()
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("origins", [(), (ALLOWED,)])
def test_a_page_of_another_origin_may_not(start: Start, origins: tuple[str, ...]) -> None:
    with start(cors_origins=origins) as client:
        asked = client.options("/v1/predictions", headers={**HOST, **PREFLIGHT, "Origin": OTHER})
        sent = {**HOST, "Origin": OTHER, "Sec-Fetch-Site": "cross-site"}
        answer = client.post("/v1/predictions", files=PICTURE, headers=sent)
    assert asked.status_code >= 400
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in {**asked.headers, **answer.headers}


def test_origins_are_listed_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIN_CORS_ORIGINS", f"{ALLOWED}, http://localhost:3000")
    assert Settings().cors_origins == (ALLOWED, "http://localhost:3000")


@pytest.mark.parametrize("origin", ["*", "viewer.example.org", "https://viewer.example.org/", "https://a.org/page"])
def test_what_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(ValidationError, match="not an origin"):
        Settings(cors_origins=(origin,))


def test_a_request_id_is_echoed_and_logged(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    with start() as client, caplog.at_level(logging.DEBUG, logger="service"):
        answer = client.get("/healthz", headers={"X-Request-ID": "ward-7.2026_1"})
        assert answer.headers["x-request-id"] == "ward-7.2026_1"
        assert "ward-7.2026_1" in caplog.text
        refused = client.get("/nowhere", headers={"X-Request-ID": "ward-8"})
        assert (refused.status_code, refused.headers["x-request-id"]) == (404, "ward-8")


@pytest.mark.parametrize("given", [None, "", "x" * 65, "Jane Doe", "a\tb", 'a"b'])
def test_a_request_without_a_usable_id_gets_one(start: Start, given: str | None) -> None:
    with start() as client:
        headers = {} if given is None else {"X-Request-ID": given}
        first, second = (client.get("/healthz", headers=headers).headers["x-request-id"] for _ in range(2))
    assert first != second
    assert given not in (first, second)
