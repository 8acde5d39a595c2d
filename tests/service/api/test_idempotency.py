"""``Idempotency-Key``: what a request that is sent again gets."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.access.keys import create_key, read_keys, revoke_key
from service.prediction.idempotency import Idempotency
from service.problems import ServiceError
from service.storage.store import Record, StoredRecord
from tests.service.conftest import Start, service_of, store_of
from tests.service.tiny_bundle import dark_square, picture_bytes
from tests.service.waiting import wait_until

PICTURE, OTHER = picture_bytes(dark_square()), picture_bytes(dark_square((40, 40, 90)))
KEY = {"Idempotency-Key": "5bdc28de-58b9-4a1c-9a2c-0dd5b2a1a2f3"}


def test_the_same_request_gets_the_same_prediction(client: TestClient) -> None:
    first, again = (client.post("/v1/predictions", files={"image": PICTURE}, headers=KEY) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]
    assert client.post("/predict", files={"image": PICTURE}).json()["id"] != first.json()["id"]


def test_another_picture_or_operating_point_is_another_request(client: TestClient) -> None:
    """Also after the first prediction was deleted: an id never stands for another image."""
    first = client.post("/v1/predictions", files={"image": PICTURE}, headers=KEY)
    point = {"operating_point": "high-sensitivity"}
    others = [
        client.post("/v1/predictions", files={"image": OTHER}, headers=KEY),
        client.post("/v1/predictions", files={"image": PICTURE}, headers=KEY, params=point),
    ]
    client.delete(first.headers["location"])
    others.append(client.post("/v1/predictions", files={"image": picture_bytes(dark_square(), "JPEG")}, headers=KEY))
    assert [other.status_code for other in others] == [201, 201, 201]
    assert len({first.json()["id"], *(other.json()["id"] for other in others)}) == 4
    assert others[1].json()["decision"]["operating_point"] == "high-sensitivity"


def test_a_record_that_cannot_be_read_does_not_keep_the_key(client: TestClient) -> None:
    first = client.post("/v1/predictions", files={"image": PICTURE}, headers=KEY).json()
    store = store_of(client)
    record = store.get(first["id"], "anyone")
    assert record is not None
    store.delete(first["id"], "anyone")
    store.put(first["id"], Record("anyone", "{}", record.maps))
    again = client.post("/v1/predictions", files={"image": PICTURE}, headers=KEY)
    assert again.status_code == 201
    assert client.get(again.headers["location"]).json() == again.json()


def test_two_requests_at_once_make_one_prediction(client: TestClient) -> None:
    with ThreadPoolExecutor() as pool:
        sent = [pool.submit(client.post, "/v1/predictions", files={"image": PICTURE}, headers=KEY) for _ in range(4)]
    answers = [future.result() for future in sent]
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 201}) == 1


def test_a_deleted_prediction_is_made_again(client: TestClient) -> None:
    first = client.post("/v1/predictions", files={"image": PICTURE}, headers=KEY)
    client.delete(first.headers["location"])
    again = client.post("/v1/predictions", files={"image": PICTURE}, headers=KEY)
    assert again.status_code == 201
    assert again.json()["created_at"] != first.json()["created_at"]


def test_maps_of_a_prediction_that_is_gone_are_not_the_next_ones(start: Start) -> None:
    with start(record_ttl_seconds=1) as client:
        first = client.post("/v1/predictions", files={"image": PICTURE}, headers=KEY).json()
        before = client.get(first["attention"]["lesion"])
        wait_until(lambda: client.get(f"/v1/predictions/{first['id']}").status_code == 404, "it expired")
        second = client.post("/v1/predictions", files={"image": OTHER}, headers=KEY).json()
        assert second["id"] != first["id"]
        known = {"If-None-Match": before.headers["etag"]}
        after = client.get(second["attention"]["lesion"], headers=known)
    assert after.status_code == 200
    assert after.content != before.content


def test_a_request_that_is_under_way_is_not_made_twice(client: TestClient) -> None:
    service = service_of(client)
    asked = ("anyone", KEY["Idempotency-Key"], "balanced", service.scheduler.bundle.sha256)
    with service.idempotency.under_way(service.idempotency.id_of(PICTURE, *asked)):
        response = client.post("/v1/predictions", files={"image": PICTURE}, headers=KEY)
    assert (response.status_code, response.headers["retry-after"]) == (409, "1")
    assert client.post("/v1/predictions", files={"image": PICTURE}, headers=KEY).status_code == 201


def test_a_request_that_ended_is_not_made_again_while_its_record_is_put() -> None:
    writing = {"0" * 32}
    idempotency = Idempotency(b"", writing.__contains__)
    with pytest.raises(ServiceError), idempotency.under_way("0" * 32):
        pass
    writing.clear()
    with idempotency.under_way("0" * 32):
        pass


def test_another_replicas_prediction_stays_when_both_are_asked_at_once(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = client.post("/v1/predictions", files={"image": PICTURE}, headers=KEY).json()
    with monkeypatch.context() as patch:
        patch.setattr(store_of(client), "get", lambda id, owner: None)  # it was put since
        second = client.post("/v1/predictions", files={"image": PICTURE}, headers=KEY)
    assert (second.status_code, second.json()["type"]) == (409, "urn:cin:problem:conflict")
    assert client.get(f"/v1/predictions/{first['id']}").json() == first


def test_without_keys_an_id_does_not_follow_from_the_key(start: Start) -> None:
    ids = []
    for _ in range(2):
        with start() as client:
            ids.append(client.post("/v1/predictions", files={"image": PICTURE}, headers=KEY).json()["id"])
    assert ids[0] != ids[1]


def test_clients_with_the_same_key_have_predictions_of_their_own(start: Start, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    secrets = [create_key(keys, name, announce=lambda key: None) for name in ("one", "two")]
    with start(keys=keys) as client:
        ids = [
            client.post(
                "/v1/predictions", files={"image": PICTURE}, headers={**KEY, "Authorization": f"Bearer {secret}"}
            ).json()["id"]
            for secret in secrets
        ]
    assert ids[0] != ids[1]


def test_a_service_that_lost_trust_meanwhile_repeats_nothing(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = client.post("/v1/predictions", files={"image": PICTURE}, headers=KEY).headers["location"]
    store = store_of(client)
    get, health = store.get, service_of(client).health

    def get_and_fail(id: str, owner: str) -> StoredRecord | None:
        health.failure = "the canary image got another answer"
        return get(id, owner)

    monkeypatch.setattr(store, "get", get_and_fail)
    for ask in (
        lambda: client.post("/v1/predictions", files={"image": PICTURE}, headers=KEY),
        lambda: client.get(location),
    ):
        health.failure = None
        response = ask()
        assert (response.status_code, response.json()["type"]) == (503, "urn:cin:problem:not-ready")
    health.failure = None


def test_a_key_that_was_revoked_meanwhile_gets_nothing_repeated(
    start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keys = tmp_path / "keys.json"
    sent = {**KEY, "Authorization": f"Bearer {create_key(keys, 'one', announce=lambda key: None)}"}
    with start(keys=keys) as client:
        assert client.post("/v1/predictions", files={"image": PICTURE}, headers=sent).status_code == 201
        store, live = store_of(client), service_of(client).keys
        assert live is not None
        get = store.get

        def get_after_revocation(id: str, owner: str) -> StoredRecord | None:
            revoke_key(keys, read_keys(keys).keys[0].id, announce=lambda key: None)
            live.look_again()
            return get(id, owner)

        monkeypatch.setattr(store, "get", get_after_revocation)
        assert client.post("/v1/predictions", files={"image": PICTURE}, headers=sent).status_code == 401


def test_another_model_makes_another_prediction(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    first = client.post("/v1/predictions", files={"image": PICTURE}, headers=KEY).json()
    engine = service_of(client).scheduler.engine
    monkeypatch.setattr(engine, "bundle", engine.bundle.model_copy(update={"sha256": "0" * 64}))
    again = client.post("/v1/predictions", files={"image": PICTURE}, headers=KEY)
    assert (again.status_code, again.json()["model"]["sha256"]) == (201, "0" * 64)
    assert again.json()["id"] != first["id"]


def test_a_key_that_cannot_be_one_is_refused(client: TestClient) -> None:
    for key in ("", "x" * 129, "a b"):
        response = client.post("/v1/predictions", files={"image": PICTURE}, headers={"Idempotency-Key": key})
        assert response.status_code == 400
        assert "dempotency" in response.json()["detail"]
