"""Who gets in, over the wire: keys, owners, limits."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute

from service.access.keys import read_keys, revoke_key
from service.bundle import Bundle
from service.prediction.predictor import Predictor, Result
from tests.service.conftest import Start, service_of, store_of
from tests.service.real_redis import RealRedis
from tests.service.served import Served, cin, make_key, served
from tests.service.waiting import wait_until
from tests.service.wire import FORM, PICTURE, check_problem

PUBLIC = re.compile("/|/healthz|/readyz|/docs(/.*)?|/openapi.json|/web/.*")


class Clinics:
    """A service that two clinics have keys for."""

    def __init__(self, service: Served, keys: Path) -> None:
        self.service, self.file = service, keys
        self.keys = {name: self.create(name) for name in ("one", "two")}

    def create(self, name: str) -> str:
        return make_key(self.file, name)

    def revoke_all(self, name: str) -> None:
        for key in read_keys(self.file).keys:
            if key.client == name:
                revoke_key(self.file, key.id, announce=lambda key: None)

    def client(self, name: str) -> httpx.Client:
        return self.service.client(self.keys[name])


@pytest.fixture(scope="module")
def clinics(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinics]:
    keys = tmp_path_factory.mktemp("keys") / "keys.json"
    make_key(keys, "first")
    with served(tiny_bundle.folder, CIN_KEYS=str(keys)) as service:
        clinics = Clinics(service, keys)
        with clinics.client("two") as client:
            wait_until(lambda: client.get("/model").status_code == 200, "new keys are taken without a restart")
        yield clinics


def test_nothing_is_served_without_a_key_but_what_is_public(start: Start, tmp_path: Path) -> None:
    """Every route of the app, also one that was added since: by its own list, not by ours."""
    keys = tmp_path / "keys.json"
    make_key(keys, "clinic")
    with start(keys=keys) as client:
        described = client.get("/openapi.json").json()["paths"]
        operations = [(path, method) for path, methods in described.items() for method in methods]
        assert len(operations) >= 8
        for path, method in operations:
            answer = client.request(method, path.replace("{id}", "0" * 32))
            if PUBLIC.fullmatch(path):
                assert answer.status_code != 401, path
            else:
                check_problem(answer, 401, "Authorization: Bearer")
                assert answer.headers["www-authenticate"] == "Bearer"
                assert "security" in described[path][method]
        routes = {route.path for route in client.app.routes if isinstance(route, APIRoute)}  # type: ignore[attr-defined]
        hidden = {path for path in routes if not PUBLIC.fullmatch(path)} - described.keys()
        assert not hidden, "routes that the description does not name"


@pytest.mark.parametrize(
    "credentials",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer cin_",
        "Bearer cin_" + "A" * 43,
        "Basic {key}",
        "{key}",
        "Bearer {key}x",
        "Bearer x{key}",
    ],
)
def test_what_is_no_key_is_refused_before_anything_is_read(clinics: Clinics, credentials: str) -> None:
    host, port = clinics.service.url.removeprefix("http://").split(":")
    said = credentials.format(key=clinics.keys["one"])
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 1000\r\n"
        connection.sendall(f"{head}Authorization: {said}\r\n\r\n".encode())
        assert connection.recv(12) == b"HTTP/1.1 401"


@pytest.mark.parametrize("form", [True, False])
def test_a_key_lets_in(clinics: Clinics, form: bool) -> None:
    with clinics.client("one") as client:
        if form:
            answer = client.post("/predict", files=FORM)
        else:
            answer = client.post("/predict", content=PICTURE, headers={"Content-Type": "image/png"})
        assert answer.status_code == 200
        for path in ("/model", "/metrics", answer.json()["attention"]["lesion"]):
            assert client.get(path).status_code == 200


def test_predictions_and_attention_belong_to_their_caller(clinics: Clinics) -> None:
    with clinics.client("one") as one, clinics.client("two") as two:
        found = one.post("/predict", files=FORM).json()
        prediction, attention = f"/predictions/{found['id']}", found["attention"]["spatial"]
        drawn = one.get(attention)
        assert drawn.status_code == 200
        told = two.get("/predictions/" + "0" * 32)
        for answer in (
            two.get(prediction),
            two.get(attention),
            two.get(attention, headers={"If-None-Match": drawn.headers["etag"]}),
            two.delete(prediction),
        ):
            check_problem(answer, 404, "no such prediction")
            assert answer.json() == told.json(), "nothing tells it from one that never was"
        assert one.get(attention).content == drawn.content
        assert one.delete(prediction).status_code == 204
        check_problem(one.get(attention), 404)


def test_a_batch_belongs_to_its_caller_as_well(clinics: Clinics) -> None:
    with clinics.client("one") as one, clinics.client("two") as two:
        answers = one.post("/predict/batch", files=[("image", ("a", PICTURE)), ("image", ("b", PICTURE))]).json()[
            "answers"
        ]
        for answer in answers:
            path = f"/predictions/{answer['prediction']['id']}"
            assert (one.get(path).status_code, two.get(path).status_code) == (200, 404)


def test_in_redis_they_belong_to_their_caller_too(server: RealRedis, start: Start, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    made = {name: make_key(keys, name) for name in ("one", "two")}
    with start(records_url=server.url, keys=keys) as client:
        one, two = ({"Authorization": f"Bearer {made[name]}"} for name in ("one", "two"))
        found = client.post("/predict", files=FORM, headers=one).json()
        prediction, attention = f"/predictions/{found['id']}", found["attention"]["lesion"]
        assert client.get(attention, headers=one).status_code == 200
        for method, path in (("GET", prediction), ("GET", attention), ("DELETE", prediction)):
            check_problem(client.request(method, path, headers=two), 404)
        assert client.delete(prediction, headers=one).status_code == 204


def test_a_key_is_made_and_revoked_while_it_runs(clinics: Clinics) -> None:
    key = clinics.create("third")
    with clinics.service.client(key) as client:
        wait_until(lambda: client.get("/model").status_code == 200, "the new key is taken")
        id = client.post("/predict", files=FORM).json()["id"]
        second = clinics.create("third")
        with clinics.service.client(second) as going_over:
            wait_until(lambda: going_over.get(f"/predictions/{id}").status_code == 200, "a client's keys see the same")
        clinics.revoke_all("third")
        wait_until(lambda: client.get("/model").status_code == 401, "a revoked key is no longer taken")
    again = clinics.create("third")
    with clinics.service.client(again) as namesake:
        wait_until(lambda: namesake.get("/model").status_code == 200, "a key under the old name is taken")
        check_problem(namesake.get(f"/predictions/{id}"), 404)
        check_problem(namesake.get(f"/attention/{id}"), 404)
        check_problem(namesake.delete(f"/predictions/{id}"), 404)
    with clinics.client("one") as client:
        assert client.get("/model").status_code == 200


@pytest.mark.parametrize("path", ["/predict", "/predict/batch"])
def test_an_upload_that_began_before_its_key_was_revoked_gets_no_answer(clinics: Clinics, path: str) -> None:
    key = clinics.create("fourth")
    with clinics.service.client(key) as client:
        wait_until(lambda: client.get("/model").status_code == 200, "the new key is taken")
        request = client.build_request("POST", path, files=FORM)
        body = request.read()

        def slowly() -> Iterator[bytes]:
            yield body[:100]
            clinics.revoke_all("fourth")
            with clinics.service.client(key) as other:
                wait_until(lambda: other.get("/model").status_code == 401, "it is revoked")
            yield body[100:]

        kind = {"content-type": request.headers["content-type"]}
        check_problem(client.post(path, content=slowly(), headers=kind), 401)


@pytest.mark.parametrize("path", ["/predict", "/predict/batch"])
def test_what_was_predicted_for_a_key_that_is_revoked_is_taken_back(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    keys = tmp_path / "keys.json"
    key = make_key(keys, "clinic")
    predict = Predictor.predict

    with start(keys=keys) as client:
        service = service_of(client)
        assert service.keys is not None
        live = service.keys

        async def predict_and_revoke(*arguments: Any, **named: Any) -> Result:
            result = await predict(*arguments, **named)
            for stored in read_keys(keys).keys:
                revoke_key(keys, stored.id, announce=lambda key: None)
            live.look_again()
            return result

        monkeypatch.setattr(Predictor, "predict", predict_and_revoke)
        check_problem(client.post(path, files=FORM, headers={"Authorization": f"Bearer {key}"}), 401)
        wait_until(lambda: store_of(client).purge().kept == 0, "nothing is kept of it")


@pytest.mark.parametrize("path", ["/predictions/{id}", "/attention/{id}", "/attention/{id}/summary"])
def test_what_is_read_while_its_key_is_revoked_is_not_answered(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    keys = tmp_path / "keys.json"
    headers = {"Authorization": f"Bearer {make_key(keys, 'clinic')}"}
    with start(keys=keys) as client:
        id = client.post("/predict", files=FORM, headers=headers).json()["id"]
        service = service_of(client)
        live, record = service.keys, service.audit.record

        async def record_and_revoke(what: str, **details: Any) -> None:
            await record(what, **details)
            for stored in read_keys(keys).keys:
                revoke_key(keys, stored.id, announce=lambda key: None)
            assert live is not None
            live.look_again()

        monkeypatch.setattr(service.audit, "record", record_and_revoke)
        check_problem(client.get(path.format(id=id), headers=headers), 401)


def test_without_its_key_file_it_refuses_all_and_logs_it(clinics: Clinics) -> None:
    away = clinics.file.with_name("away")
    with clinics.client("one") as client:
        clinics.file.rename(away)
        try:
            wait_until(lambda: client.get("/model").status_code == 503, "all are refused")
            assert client.get("/model").headers["retry-after"]
            assert client.get("/healthz").status_code == 200
        finally:
            away.rename(clinics.file)
        wait_until(lambda: client.get("/model").status_code == 200, "they are let in again")


def test_no_key_is_in_the_log(clinics: Clinics) -> None:
    said = "".join(clinics.service.output)
    assert not re.search("cin_[A-Za-z0-9_-]{43}", said)


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
                check_problem(one.post("/predict", files=FORM), 429, "pictures at once", name="rate-limited")
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


def _refused(**settings: str) -> str:
    done = cin("serve", CIN_PORT="0", CIN_PROVIDER="cpu", **settings)
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr.splitlines()[-1]


def test_other_machines_are_not_served_without_keys(tmp_path: Path) -> None:
    for settings in ({"CIN_HOST": "0.0.0.0"}, {"CIN_PUBLISHED": "8000"}, {"CIN_PUBLISHED": "192.0.2.1:80"}):
        line = _refused(**settings)
        assert "cin keys create" in line
        assert "CIN_ALLOW_ANYONE=true" in line
    assert "cin keys create" in _refused(CIN_HOST="0.0.0.0", CIN_KEYS=str(tmp_path / "none.json"))


def test_they_are_when_that_is_said_in_so_many_words(tiny_bundle: Bundle, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    make_key(keys, "clinic")
    several: tuple[dict[str, Any], ...] = (
        {"CIN_HOST": "0.0.0.0", "CIN_ALLOW_ANYONE": "true"},
        {"CIN_HOST": "0.0.0.0", "CIN_KEYS": str(keys)},
        # A container's own address is beyond loopback, where it is published is not.
        {"CIN_HOST": "0.0.0.0", "CIN_PUBLISHED": "127.0.0.1:8000", "CIN_KEYS": ""},
    )
    for settings in several:
        with served(tiny_bundle.folder, **settings) as service:
            assert service.end() == 0
            warned = "other machines can reach" in "".join(service.output)
            assert warned == ("CIN_ALLOW_ANYONE" in settings)


def test_prometheus_has_a_port_of_its_own_that_asks_for_no_key(tiny_bundle: Bundle, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    make_key(keys, "clinic")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
        assert "CIN_METRICS_PORT" in _refused(CIN_BUNDLE=str(tiny_bundle.folder), CIN_METRICS_PORT=str(port))
    told: list[str] = []
    enough = threading.Event()

    def scrape() -> None:
        while not enough.wait(0.01):
            with suppress(httpx.TransportError):
                told.append(httpx.get(f"http://127.0.0.1:{port}/metrics").text)

    scraper = threading.Thread(target=scrape)
    scraper.start()
    try:
        with served(tiny_bundle.folder, CIN_KEYS=str(keys), CIN_METRICS_PORT=str(port)) as service:
            with service.client() as client:
                check_problem(client.get("/metrics"), 401)
            wait_until(lambda: len(told) > 1, "it was scraped")
    finally:
        enough.set()
        scraper.join()
    assert all("cin_canary_ok 1.0" in text and "cin_ready 1.0" in text for text in told), "from the first time on"


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
