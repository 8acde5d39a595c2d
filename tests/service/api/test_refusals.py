"""``POST /predict``: every way it can be refused."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from PIL import Image

from service.api.upload import MULTIPART_OVERHEAD
from service.inference.answers import Answer
from service.inference.engine import Engine
from service.storage.store import RecordsError, RecordsFull
from tests.service.conftest import Start, store_of
from tests.service.tiny_bundle import dark_square, picture_bytes
from tests.service.wire import PICTURE, check_problem, post, post_form

LIMIT = 100_000


@pytest.fixture
def small(start: Start) -> Iterator[TestClient]:
    """A service that takes 100 kB and 100,000 pixels."""
    with start(max_upload_bytes=LIMIT, max_pixels=100_000) as client:
        yield client


@pytest.mark.parametrize(
    "files",
    [
        {"picture": ("a.png", b"x")},
        {"image": (None, b"text, not a file")},
        [("image", ("a.png", b"x")), ("image", ("b.png", b"y"))],
        [("image", ("a.png", b"x")), ("comment", (None, b"hello"))],
        {"image": ("a.png", b"")},
    ],
    ids=["other field", "text field", "two files", "further field", "empty file"],
)
def test_malformed_forms(client: TestClient, files: Any) -> None:
    check_problem(client.post("/predict", files=files), 400)


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=x"])
def test_a_form_that_is_none(client: TestClient, kind: str) -> None:
    check_problem(post(client, b"no form", kind), 400, "field image")


@pytest.mark.parametrize("charset", ["undefined", "punycode", "unicode_escape", "utf-16", "x" * 200, ""])
def test_a_form_in_another_charset_is_refused_before_it_is_looked_up(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, charset: str
) -> None:
    looked_up: list[str] = []
    look_up = codecs.lookup
    monkeypatch.setattr(codecs, "lookup", lambda name: (looked_up.append(name), look_up(name))[1])
    form = b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n' + PICTURE + b"\r\n--b--\r\n"
    check_problem(post(client, form, f"multipart/form-data; boundary=b; charset={charset}"), 400, "charset")
    assert charset not in looked_up
    for known in ("UTF-8", "us-ascii", "ISO-8859-1"):
        assert post(client, form, f"multipart/form-data; boundary=b; charset={known}").status_code == 200
    assert post(client, form, "multipart/form-data; boundary=b").status_code == 200


def test_a_form_with_a_long_type(client: TestClient) -> None:
    check_problem(post(client, b"no form", f'multipart/form-data; boundary=b; x="{";" * 300}"'), 400, "256")


def test_an_empty_body(client: TestClient) -> None:
    check_problem(post(client, b""), 400, "empty")


@pytest.mark.parametrize("kind", ["application/json", "text/plain", ""])
def test_other_kinds_of_body(client: TestClient, kind: str) -> None:
    check_problem(post(client, picture_bytes(dark_square()), kind), 415, "multipart")


@pytest.mark.parametrize("data", [b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7", b"GIF89a", b"\0" * 100])
def test_other_kinds_of_picture(client: TestClient, data: bytes) -> None:
    check_problem(post(client, data), 415)


def test_an_animation(client: TestClient) -> None:
    pages = [dark_square(), dark_square(start=32)]
    data = picture_bytes(pages[0], "WEBP", save_all=True, append_images=pages[1:])
    check_problem(post(client, data), 415)


def test_a_truncated_picture(client: TestClient, sample_picture: Path) -> None:
    data = sample_picture.read_bytes()
    check_problem(post_form(client, data[: len(data) // 2]), 422, "truncated")


def test_nothing_of_the_request_is_repeated(client: TestClient) -> None:
    response = post_form(client, b"\xff\xd8\xff\xe0 John Doe", name="patients/doe/John_Doe.jpg")
    check_problem(response, 422)
    assert "oe" not in response.text.replace("does", "")


def _chunks(data: bytes) -> Iterator[bytes]:
    yield from (data[i : i + 10_000] for i in range(0, len(data), 10_000))


@pytest.mark.parametrize("chunked", [False, True])
def test_too_many_bytes(small: TestClient, chunked: bool) -> None:
    data = b"\0" * (LIMIT + 1)
    response = post(small, _chunks(data) if chunked else data)
    check_problem(response, 413, "100,000")


@pytest.mark.parametrize("chunked", [False, True])
def test_too_many_bytes_in_a_form(small: TestClient, chunked: bool) -> None:
    request = httpx.Request("POST", "http://x", files={"image": ("a", b"\0" * (LIMIT + MULTIPART_OVERHEAD + 1))})
    body = request.read()
    content = _chunks(body) if chunked else body
    response = small.post("/predict", content=content, headers={"content-type": request.headers["content-type"]})
    check_problem(response, 413)


def test_the_limit_itself_is_allowed_and_one_byte_more_is_not(small: TestClient) -> None:
    picture = picture_bytes(dark_square())
    for send in (post, post_form):
        assert send(small, picture + b"\0" * (LIMIT - len(picture))).status_code == 200
        check_problem(send(small, picture + b"\0" * (LIMIT + 1 - len(picture))), 413)


def _refusal(client: TestClient, headers: dict[str, str]) -> tuple[int, int]:
    """Status of the answer to a body that never ends, and how many chunks of 10,000 bytes were read of it."""
    statuses: list[int] = []
    chunks = 0

    async def receive() -> dict[str, Any]:
        nonlocal chunks
        chunks += 1
        return {"type": "http.request", "body": b"\0" * 10_000, "more_body": True}

    async def send(message: Any) -> None:
        if "status" in message:
            statuses.append(message["status"])

    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "POST", "path": "/predict", "query_string": b"", "headers": pairs}
    assert client.portal is not None
    client.portal.call(client.app, scope, receive, send)
    (status,) = statuses
    return status, chunks


def test_an_announced_size_is_refused_before_anything_is_read(small: TestClient) -> None:
    headers = {"content-type": "image/png", "content-length": "50000000"}
    assert _refusal(small, headers) == (413, 0)


def test_a_body_without_end_is_refused_at_the_limit(small: TestClient) -> None:
    status, chunks = _refusal(small, {"content-type": "image/png"})
    assert status == 413
    assert chunks == LIMIT // 10_000 + 1


def test_too_many_pixels(small: TestClient) -> None:
    check_problem(post(small, picture_bytes(Image.new("1", (400, 400)))), 413, "400 x 400")


def test_a_picture_that_the_network_fails_on_is_an_error_of_ours(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    really_run, details = Engine.run, list[str]()

    def run(engine: Engine, frames: NDArray[np.uint8], **options: Any) -> list[Answer]:
        if details:
            raise ValueError(details.pop())
        return really_run(engine, frames, **options)

    monkeypatch.setattr(Engine, "run", run)
    with start() as client:
        details.append("secret detail")
        response = post(client, picture_bytes(dark_square()))
        check_problem(response, 500, "network failed")
        assert "secret" not in response.text
        assert post(client, picture_bytes(dark_square())).status_code == 200
        details.append("secret detail")
        form = [("image", (f"{i}.png", picture_bytes(dark_square()))) for i in range(3)]
        problems = [answer["problem"] for answer in client.post("/predict/batch", files=form).json()["answers"]]
        assert [problem["status"] for problem in problems if problem] == [500], "the other images have answers"


def test_a_bug_is_a_problem_like_any_other(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.prediction.predictor.describe", lambda *_: 1 / 0)
    response = post(client, picture_bytes(dark_square()))
    check_problem(response, 500, "logged")
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(("kind", "status"), [(RecordsError, 503), (RecordsFull, 507)])
def test_a_prediction_that_cannot_be_kept_is_none(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, kind: type[RecordsError], status: int
) -> None:
    def fail(*_: object) -> None:
        raise kind("/var/cin does not work")

    monkeypatch.setattr(store_of(client), "put", fail)
    response = post(client, picture_bytes(dark_square()))
    check_problem(response, status, "kept")
    assert "/var" not in response.text


@pytest.mark.parametrize(
    "place", ["predictions.read_upload", "batches.read_uploads", "attention.render", "attention.summarise"]
)
def test_a_shortage_of_memory_is_no_bug(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    link = post(client, PICTURE).json()["attention"]["lesion"]

    def find_none(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(f"service.api.routes.{place}", find_none)
    form = {"image": PICTURE}
    answer = {
        "predictions.read_upload": lambda: post(client, PICTURE),
        "batches.read_uploads": lambda: client.post("/predict/batch", files=form),
        "attention.render": lambda: client.get(link),
        "attention.summarise": lambda: client.get(f"{link}/summary"),
    }[place]()
    check_problem(answer, 503, "memory", "not-ready")
    assert answer.headers["retry-after"] == "5"
    assert "memory ran out" in caplog.messages
    assert not [record for record in caplog.records if "unexpected" in record.message]


def test_other_methods_and_addresses(client: TestClient) -> None:
    response = client.get("/predict")
    check_problem(response, 405)
    assert response.headers["allow"] == "POST"
    response = client.post(f"/predictions/{'0' * 32}")
    check_problem(response, 405)
    assert response.headers["allow"] == "DELETE, GET"
    check_problem(client.get("/nothing/here"), 404, "/docs")
    check_problem(client.post("/predict/"), 404)


def test_uploads_never_touch_a_disk(start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = picture_bytes(Image.effect_noise((1500, 1500), 90).convert("RGB"))
    assert len(data) > 2**20
    with start(records_folder=tmp_path / "records") as client:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "no-such-folder"))
        assert post_form(client, data).status_code == 200
