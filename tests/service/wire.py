"""Images sent, and problems recognised."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
from fastapi.testclient import TestClient

from service.problems import MEDIA_TYPE, PROBLEM_TYPES
from tests.service.tiny_bundle import dark_square, picture_bytes

PICTURE = picture_bytes(dark_square())
FORM = {"image": ("lesion.png", PICTURE)}


def post(client: TestClient, data: bytes | Iterator[bytes], kind: str = "image/png", **query: str) -> httpx.Response:
    """Send an image as the body."""
    response: httpx.Response = client.post("/predict", content=data, headers={"content-type": kind}, params=query)
    return response


def post_form(client: TestClient, data: bytes, name: str = "lesion.png") -> httpx.Response:
    """Send an image in a form."""
    response: httpx.Response = client.post("/predict", files={"image": (name, data)})
    return response


def check_problem(response: httpx.Response, status: int, word: str = "", name: str | None = None) -> None:
    """The response is the problem of that status (and name, where there are two), and its detail holds ``word``."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == MEDIA_TYPE
    body = response.json()
    problem = next(p for p in PROBLEM_TYPES if p.status == status and name in (None, p.name))
    assert body == {"type": problem.uri, "title": problem.title, "status": status, "detail": body["detail"]}
    assert word in body["detail"]
