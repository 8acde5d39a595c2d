"""A running service around the tiny bundle."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.bundle import Bundle
from service.runtime import Service
from service.settings import Settings
from service.storage.store import RecordStore
from tests.service.real_redis import RealRedis
from tests.service.tiny_bundle import write_tiny_bundle

Start = Callable[..., AbstractContextManager[TestClient]]


@pytest.fixture(autouse=True)
def _use_shared_fork_server(_shared_fork_server: None) -> None:
    """All services of these tests."""


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The tiny bundle with lesion feature attention."""
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="session")
def plain_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The tiny bundle without lesion feature attention."""
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "plain", feature_attention=False)


@pytest.fixture(scope="session")
def examining_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The tiny bundle with limits beyond which it gives no advice."""
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "examining", limits=True)


@pytest.fixture
def start(tiny_bundle: Bundle) -> Start:
    """Start a service on the CPU; keyword arguments are settings."""

    @contextmanager
    def started(on_fatal: Callable[[str], None] = lambda reason: None, **settings: Any) -> Iterator[TestClient]:
        chosen = {"bundle": tiny_bundle.folder, "provider": "cpu", "inference_threads": 1, **settings}
        with TestClient(create_app(Settings(**chosen), on_fatal)) as client:
            yield client

    return started


@pytest.fixture
def client(start: Start) -> Iterator[TestClient]:
    """A service with default limits."""
    with start() as client:
        yield client


def service_of(client: TestClient) -> Service:
    """The object graph behind a client."""
    service: Service = client.app.state.service  # type: ignore[attr-defined]
    return service


def store_of(client: TestClient) -> RecordStore:
    """Where the service behind a client keeps its records."""
    store = service_of(client).records.store
    assert store is not None
    return store


@pytest.fixture
def sample_picture(data_root: Path) -> Path:
    """A real dermoscopy image, 1022 x 767 pixels."""
    return data_root / "samples" / "ISIC_0000016.jpg"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 400 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k,mode=700", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("nothing may be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="session")
def real_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRedis]:
    """One for all tests."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    server = RealRedis(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture
def server(real_redis: RealRedis) -> RealRedis:
    """The server, empty."""
    real_redis.client.flushall()
    return real_redis
