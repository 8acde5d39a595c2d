"""One running service, and its OpenAPI schema in a file, for the clients that are generated from it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from service.access.keys import create_key
from tests.page.browsing import Server, serving
from tests.paths import REPOSITORY
from tests.service.tiny_bundle import write_tiny_bundle

TOOLS = REPOSITORY / "tests" / "clients" / "node_modules" / ".bin"


@dataclass(frozen=True)
class Access:
    """A key file with one client's key."""

    file: Path
    key: str


@pytest.fixture(scope="package")
def access(tmp_path_factory: pytest.TempPathFactory) -> Access:
    """What the services ask for."""
    file = tmp_path_factory.mktemp("clients") / "keys.json"
    return Access(file, create_key(file, "clinic", announce=lambda key: None))


@pytest.fixture(scope="package")
def key(access: Access) -> str:
    """The client's API key."""
    return access.key


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory, access: Access) -> Iterator[Server]:
    """A service that asks for keys and gives no advice on dark images."""
    bundle = write_tiny_bundle(tmp_path_factory.mktemp("clients") / "examining", limits=True)
    with serving(bundle=bundle.folder, keys=access.file) as running:
        yield running


@pytest.fixture(scope="package")
def slow_server(tmp_path_factory: pytest.TempPathFactory, access: Access) -> Iterator[Server]:
    """The same, where a client may ask for one thing in 1000 s."""
    bundle = write_tiny_bundle(tmp_path_factory.mktemp("clients") / "slow", limits=True)
    with serving(bundle=bundle.folder, keys=access.file, caller_rate=0.001) as running:
        yield running


@pytest.fixture(scope="package")
def schema(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The schema that the service serves."""
    path = tmp_path_factory.mktemp("schema") / "openapi.json"
    path.write_text(httpx.get(f"{server.url}/openapi.json", timeout=60).raise_for_status().text, encoding="utf-8")
    return path


def tool(name: str) -> str:
    """A Node.js program; skips where there is none."""
    return str(installed(TOOLS / name))


def program(name: str, *packages: str) -> list[str]:
    """The command of a program of ours in this folder, which needs these packages; skips where they are missing."""
    for package in packages:
        installed(TOOLS.parent / package)
    return ["node", str(TOOLS.parents[1] / name)]


def installed(path: Path) -> Path:
    """The path of something that npm installs; skips where it is missing."""
    if shutil.which("node") is None:
        pytest.skip("there is no Node.js; Debian's package is called nodejs")
    if not path.exists():
        pytest.skip(f"{path.name} is not installed; npm ci --prefix tests/clients")
    return path
