"""Pages of other sites, and names that may be theirs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.bundle import Bundle
from tests.service.conftest import Start
from tests.service.served import Served, make_key, served
from tests.service.wire import FORM, check_problem


@pytest.fixture(scope="module")
def keyless(tiny_bundle: Bundle) -> Iterator[Served]:
    with served(tiny_bundle.folder) as service:
        yield service


OWN = {"Sec-Fetch-Site": "same-origin"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        (OWN, 200),
        ({"Origin": "http://HOST"}, 200),
        ({**OWN, "Origin": "https://behind-a-proxy.example"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://HOST"}, 403),
        ({"Origin": "https://example.org"}, 403),
        ({"Origin": "http://localhost:1"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
    ],
)
def test_no_other_sites_page_may_send_anything(keyless: Served, headers: dict[str, str], status: int) -> None:
    with keyless.client() as client:
        host = keyless.url.removeprefix("http://")
        sent = {name: value.replace("HOST", host) for name, value in headers.items()}
        answer = client.post("/predict", files=FORM, headers=sent)
        deleted = client.delete(f"/predictions/{'0' * 32}", headers=sent)
        assert client.get("/model", headers=sent).status_code == 200
    if status == 403:
        check_problem(answer, 403, "other sites")
        check_problem(deleted, 403, "other sites")
        assert answer.headers["x-content-type-options"] == "nosniff"
    else:
        assert (answer.status_code, deleted.status_code) == (200, 404)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8000", 200),
        ("127.0.0.1", 200),
        ("127.1.2.3:9", 200),
        ("[::1]:8000", 200),
        ("192.0.2.7", 200),
        ("workstation", 200),
        ("cin.localhost", 200),
        ("rebound.example", 403),
        ("rebound.example.:8000", 403),
        ("127.0.0.1.rebound.example:8000", 403),
        ("localhost@rebound.example", 403),
        ("[::1", 403),
    ],
)
def test_a_name_that_may_be_another_sites_is_not_ours(keyless: Served, host: str, status: int) -> None:
    with keyless.client() as client:
        for path in ("/", "/model", "/healthz"):
            answer = client.get(path, headers={"Host": host})
            assert answer.status_code == status
        if status == 403:
            check_problem(answer, 403, "CIN_KEYS")
            assert "rebound" not in answer.text


def test_it_may_have_any_name_where_that_was_said_or_keys_are_asked_for(start: Start, tmp_path: Path) -> None:
    name = {"Host": "derm.example:8000"}
    make_key(tmp_path / "keys.json", "clinic")
    for settings in ({"keys": tmp_path / "keys.json"}, {"allow_anyone": True}):
        with start(**settings) as client:
            assert client.get("/healthz", headers=name).status_code == 200
