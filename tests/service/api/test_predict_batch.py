"""``POST /predict/batch``: an answer or a problem for each image."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from service.bundle import Bundle
from service.problems import DEADLINE, MALFORMED, TOO_LARGE, UNDECODABLE, UNSUPPORTED_TYPE
from service.runtime import Service
from tests.service.conftest import Start
from tests.service.running import held, play, until
from tests.service.tiny_bundle import dark_square, picture_bytes
from tests.service.wire import check_problem, post

PICTURES = [picture_bytes(dark_square(start=8 * i)) for i in range(4)]


def form(pictures: list[bytes], field: str = "image") -> dict[str, Any]:
    return {"files": [(field, (f"{i}.png", data)) for i, data in enumerate(pictures)]}


def post_batch(client: TestClient, pictures: list[bytes], **query: str) -> httpx.Response:
    response: httpx.Response = client.post("/predict/batch", params=query, **form(pictures))
    return response


def test_every_picture_gets_the_answer_it_would_get_alone(client: TestClient, sample_picture: Path) -> None:
    pictures = [*PICTURES, sample_picture.read_bytes()]
    response = post_batch(client, pictures)
    assert response.status_code == 200
    answers = response.json()["answers"]
    assert len(answers) == 5
    for answer, data in zip(answers, pictures, strict=True):
        assert answer["problem"] is None
        prediction, alone = answer["prediction"], post(client, data).json()
        assert client.get(f"/predictions/{prediction['id']}").json() == prediction
        assert client.get(prediction["attention"]["lesion"]).status_code == 200
        for each in (prediction, alone):
            for field in ("id", "created_at", "expires_at", "attention", "timings_ms"):
                each.pop(field)
        assert prediction == alone


def test_what_is_wrong_with_a_picture_is_its_own_problem(start: Start) -> None:
    large = picture_bytes(dark_square()) + bytes(200_000)
    with start(max_upload_bytes=150_000, batch_pictures=8) as client:
        pictures = [b"no picture", PICTURES[0], PICTURES[1][:300], b"", large, PICTURES[2]]
        answers = post_batch(client, pictures).json()["answers"]
    problems = [answer["problem"] and answer["problem"]["type"] for answer in answers]
    assert problems == [UNSUPPORTED_TYPE.uri, None, UNDECODABLE.uri, MALFORMED.uri, TOO_LARGE.uri, None]
    for answer in answers:
        assert (answer["prediction"] is None) != (answer["problem"] is None)


def test_an_operating_point_is_for_all(client: TestClient) -> None:
    answers = post_batch(client, PICTURES[:2], operating_point="balanced").json()["answers"]
    assert {answer["prediction"]["decision"]["operating_point"] for answer in answers} == {"balanced"}
    check_problem(post_batch(client, PICTURES[:2], operating_point="perfect"), 400, "balanced")


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        ({"content": PICTURES[0], "headers": {"content-type": "image/png"}}, 415, "multipart"),
        (form([]) | {"headers": {"content-type": "multipart/form-data; boundary=x"}, "content": b"--x--\r\n"}, 400, ""),
        (form(PICTURES), 400, "one to 3 files"),
        (form(PICTURES[:2], field="picture"), 400, "image"),
        (form([bytes(300_000)] * 3), 413, "bytes"),
    ],
)
def test_what_is_wrong_with_the_request_is_an_error(start: Start, body: dict[str, Any], status: int, word: str) -> None:
    body.pop("files", None) if "content" in body else None
    with start(max_upload_bytes=100_000, batch_pictures=3) as client:
        check_problem(client.post("/predict/batch", **body), status, word)
        assert post_batch(client, PICTURES[:3]).status_code == 200, "nothing is held by what was refused"


def test_a_batch_takes_the_places_of_its_pictures(tiny_bundle: Bundle) -> None:
    async def scenario(client: httpx.AsyncClient, service: Service) -> None:
        async with held(service):
            first = asyncio.create_task(client.post("/predict/batch", **form(PICTURES[:2])))
            await until(lambda: service.scheduler.batcher.depth >= 1)
            refused = await client.post("/predict/batch", **form(PICTURES[:3]))
            assert refused.status_code == 429
            assert refused.headers["retry-after"] == "1"
            single = asyncio.create_task(
                client.post("/predict", content=PICTURES[0], headers={"content-type": "image/png"})
            )
            await until(lambda: service.scheduler.batcher.depth >= 2)
        assert (await first).status_code == 200
        assert (await single).status_code == 200
        again = await client.post("/predict/batch", **form(PICTURES[:2]))
        assert again.status_code == 200

    play(scenario, tiny_bundle, queue_size=7, batch_pictures=3)


def test_pictures_that_are_answered_in_time_are_kept(tiny_bundle: Bundle) -> None:
    async def scenario(client: httpx.AsyncClient, service: Service) -> None:
        async with held(service):
            response = await client.post("/predict/batch", **form([PICTURES[0], b"no picture"]))
        late, wrong = response.json()["answers"]
        assert late["problem"]["type"] == DEADLINE.uri
        assert wrong["problem"]["type"] == UNSUPPORTED_TYPE.uri
        assert service.scheduler.batcher.depth == 0

    play(scenario, tiny_bundle, deadline_seconds=0.3)


def test_one_request_makes_batches(tiny_bundle: Bundle) -> None:
    async def scenario(client: httpx.AsyncClient, service: Service) -> None:
        async with held(service):
            answers = asyncio.create_task(client.post("/predict/batch", **form(PICTURES * 2)))
            await until(lambda: service.scheduler.batcher.depth >= 4)
        assert (await answers).status_code == 200
        metrics = (await client.get("/metrics")).text
        counts = dict(line.split() for line in metrics.splitlines() if line.startswith("cin_batch_size_"))
        assert float(counts["cin_batch_size_sum"]) == 1 + 8, "the canary image's batch of one, and these"
        assert float(counts["cin_batch_size_count"]) < 1 + 8

    play(scenario, tiny_bundle, max_batch=4, batch_pictures=8)


def test_a_bug_ends_the_request_and_nothing_else(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    with start(queue_size=3, batch_pictures=3) as client:
        with monkeypatch.context() as broken:
            broken.setattr("service.prediction.predictor.describe", lambda *_: 1 / 0)
            check_problem(post_batch(client, PICTURES[:3]), 500, "unexpected")
        assert post_batch(client, PICTURES[:3]).status_code == 200
