"""The profile ``pacs``: a PACS, and a watch that stores results in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.compose.stack import Stack, free_port, in_container, wait_for
from tests.service.pacs.orthanc import source

# The Debian that the other images are built on: it is there already.
BASE = "python:3.11-slim-bookworm"


@pytest.fixture(scope="module")
def beside(compose: list[str], image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The two containers alone."""
    folder = tmp_path_factory.mktemp("pacs")
    (folder / "pacs-password").write_text("0123456789abcdef\n")
    stack = Stack(
        compose,
        image,
        folder,
        COMPOSE_PROJECT_NAME=f"cin-test-pacs-{os.getpid()}",
        COMPOSE_PROFILES="pacs",
        DEBIAN_IMAGE=BASE,
        PACS_IMAGE="clinical-inspired-network:pacs-test",
        PACS_PASSWORD_FILE=str(folder / "pacs-password"),
        PACS_PUBLISH=f"127.0.0.1:{free_port()}",
        PACS_DICOM_PUBLISH=f"127.0.0.1:{free_port()}",
    )
    try:
        stack.compose("build", "pacs")
        stack.compose("up", "--detach", "--no-deps", "pacs", "watch")
        yield stack
    finally:
        stack.down()


def orthanc(stack: Stack) -> httpx.Client:
    address, password = stack.settings["PACS_PUBLISH"], Path(stack.settings["PACS_PASSWORD_FILE"]).read_text().strip()
    # Orthanc closes a connection that is idle for a second, also when a request is on its way.
    transport = httpx.HTTPTransport(retries=5, limits=httpx.Limits(max_keepalive_connections=0))
    return httpx.Client(base_url=f"http://{address}", auth=("cin", password), timeout=30, transport=transport)


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/system").status_code == 200
    except httpx.TransportError:
        return False


def modalities(client: httpx.Client) -> list[str]:
    found: list[dict[str, Any]] = client.get("/series?expand").json()
    return sorted(series["MainDicomTags"]["Modality"] for series in found)


def test_an_image_that_comes_into_the_pacs_gets_its_results(beside: Stack, picture: bytes) -> None:
    with orthanc(beside) as client:
        wait_for(lambda: answers(client), "the PACS answers", seconds=120)
        assert httpx.get(f"{client.base_url}/system").status_code == 401
        assert client.post("/instances", content=source(0, jpeg=picture)).status_code == 200
        wait_for(lambda: len(modalities(client)) == 5, "its results", seconds=180)
        assert modalities(client) == ["DMS", "OT", "PR", "SEG", "SR"]
    (watch,) = beside.containers("watch")
    script = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9000/metrics').read().decode())"
    metrics = in_container(watch, "python", "-c", script).stdout
    assert 'cin_pacs_instances_total{outcome="stored"} 1.0' in metrics
    assert "cin_pacs_process_resident_memory_bytes" in metrics
    beside.compose("stop", "watch")
    assert "end: 1 stored, 0 present, 0 failed, 0 skipped" in beside.compose("logs", "watch")
