"""Requests about lesions, visits and feedback, and a model whose repeatability is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
from fastapi.testclient import TestClient

from service.bundle import Bundle, load_bundle
from tests.service.tiny_bundle import dark_square, picture_bytes, write_tiny_bundle

Headers = dict[str, str]
REPEATABILITY = {
    "measured_on": "tests (10 pairs)",
    "num_pairs": 10,
    "median_change": 0.05,
    "percentile_95_change": 0.2,
    "other_advice": {"value": 0.1, "low": 0.0, "high": 0.4},
    "near_threshold": 0.1,
}


def repeatable_bundle(folder: Path) -> Bundle:
    """The tiny bundle with limits and a measured repeatability."""
    bundle = write_tiny_bundle(folder / "tiny", limits=True)
    path = bundle.folder / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"repeatability": REPEATABILITY}))
    return load_bundle(bundle.folder)


def picture(red: int = 120) -> bytes:
    """A dark square, the redder the likelier a melanoma."""
    return picture_bytes(dark_square((red, 20, 20)))


def send(client: TestClient, data: bytes, headers: Headers | None = None, **query: str) -> httpx.Response:
    """Send an image as the body."""
    headers = {"content-type": "image/png"} | (headers or {})
    response: httpx.Response = client.post("/v1/predictions", content=data, headers=headers, params=query)
    return response


def predicted(client: TestClient, data: bytes, headers: Headers | None = None, **query: str) -> dict[str, Any]:
    """The prediction for an image."""
    response = send(client, data, headers, **query)
    assert response.status_code == 201, response.text
    body: dict[str, Any] = response.json()
    return body


def say(client: TestClient, id: str, headers: Headers | None = None, **said: Any) -> httpx.Response:
    """Send feedback."""
    response: httpx.Response = client.post(f"/v1/predictions/{id}/feedback", json=said, headers=headers or {})
    return response
