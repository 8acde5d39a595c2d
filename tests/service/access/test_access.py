"""Who gets in, over the wire: keys, and the owners of what was predicted."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
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
from tests.service.served import Served, make_key, served
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
