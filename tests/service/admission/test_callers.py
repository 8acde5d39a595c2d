"""What one caller may send, over the wire: a rate and a share of the slots."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import pytest

from service.bundle import Bundle
from tests.service.conftest import Start
from tests.service.served import make_key, served
from tests.service.waiting import wait_until
from tests.service.wire import FORM, check_problem


def test_a_caller_has_a_rate_of_their_own(start: Start) -> None:
    with start(caller_rate=3) as client:
        statuses = [client.get("/model").status_code for _ in range(12)]
        assert statuses[:6] == [200] * 6
        assert set(statuses[6:]) <= {200, 429}
        refused = next(answer for answer in (client.get("/model") for _ in range(20)) if answer.status_code == 429)
        check_problem(refused, 429, "requests", name="rate-limited")
        assert int(refused.headers["retry-after"]) >= 1
        assert client.get("/healthz").status_code == 200, "orchestrators ask as often as they like"
        time.sleep(1.1)
        assert 'cin_rejected_total{reason="rate-limited"}' in client.get("/metrics").text


def test_a_proxys_question_does_not_count(start: Start, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    headers = {"Authorization": f"Bearer {make_key(keys, 'clinic')}"}
    with start(caller_rate=2, keys=keys) as client:
        assert {client.get("/admission", headers=headers).status_code for _ in range(20)} == {204}
        assert client.post("/predict", files=FORM, headers=headers).status_code == 200
        assert {client.get("/admission").status_code for _ in range(20)} == {401, 429}, "guesses at keys do"


def test_strangers_without_keys_have_a_rate_too(start: Start, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    key = make_key(keys, "clinic")
    with start(caller_rate=2, keys=keys) as client:
        assert {client.get("/model").status_code for _ in range(20)} == {401, 429}
        own = client.get("/model", headers={"Authorization": f"Bearer {key}"})
        assert own.status_code == 200, "which costs no client anything"


def test_one_caller_cannot_take_every_place(tiny_bundle: Bundle, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    made = {name: make_key(keys, name) for name in ("one", "two")}
    with served(tiny_bundle.folder, CIN_KEYS=str(keys), CIN_QUEUE_SIZE="4") as service:
        host, port = service.url.removeprefix("http://").split(":")
        begun = (
            f"POST /predict HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {made['one']}\r\nContent-Type: image/png\r\n"
            "Content-Length: 1000\r\n\r\nx"
        )
        held = [socket.create_connection((host, int(port)), timeout=10) for _ in range(2)]
        try:
            for connection in held:
                connection.sendall(begun.encode())
            with service.client(made["one"]) as one, service.client(made["two"]) as two:
                wait_until(
                    lambda: one.post("/predict", files=FORM).status_code == 429, "half of the places are the most"
                )
                check_problem(one.post("/predict", files=FORM), 429, "images at once", name="rate-limited")
                assert two.post("/predict", files=FORM).status_code == 200
        finally:
            for connection in held:
                connection.close()
        with service.client(made["one"]) as one:
            wait_until(lambda: one.post("/predict", files=FORM).status_code == 200, "places come back")


@pytest.mark.parametrize(("trusted", "counted_together"), [(None, True), ("127.0.0.1", False), ("192.0.2.1", True)])
def test_who_asked_is_told_by_a_trusted_proxy_alone(
    tiny_bundle: Bundle, trusted: str | None, counted_together: bool
) -> None:
    settings: dict[str, Any] = {} if trusted is None else {"CIN_TRUSTED_PROXIES": trusted}
    with served(tiny_bundle.folder, CIN_CALLER_RATE="1", **settings) as service, service.client() as client:
        answers = [client.get("/model", headers={"X-Forwarded-For": f"203.0.113.{n}"}) for n in range(12)]
    assert (429 in {answer.status_code for answer in answers}) == counted_together
