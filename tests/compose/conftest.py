"""The image, built once, and the stack from it."""

from __future__ import annotations

import time
import tomllib
from collections.abc import Callable, Iterator

import httpx
import pytest

from service.settings import SHIPPED_BUNDLE
from tests.compose.stack import Stack, compose_command, missing_engine
from tests.paths import REPOSITORY, find_data

# It stays, as the cache of the next build.
IMAGE = "clinical-inspired-network:test"

FIGURES = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def note(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Say something that was measured at the end of all tests."""
    return request.config.stash.setdefault(FIGURES, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print what was measured."""
    for line in config.stash.get(FIGURES, []):
        terminalreporter.write_line(f"stack: {line}")


@pytest.fixture(scope="session")
def compose() -> list[str]:
    """The command of compose, where there is an engine for it."""
    if (reason := missing_engine()) is not None:
        pytest.skip(reason)
    return compose_command()


@pytest.fixture(scope="session")
def picture() -> bytes:
    """A real dermoscopy image: an original where there are any, else the canary."""
    data = find_data()
    path = SHIPPED_BUNDLE / "canary.jpg" if data is None else data / "samples" / "ISIC_0000016.jpg"
    return path.read_bytes()


@pytest.fixture(scope="package")
def image(compose: list[str], tmp_path_factory: pytest.TempPathFactory, note: Callable[[str], None]) -> str:
    """The CPU image, built by compose."""
    began = time.monotonic()
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    Stack(compose, IMAGE, tmp_path_factory.mktemp("build"), VERSION=version).compose("build", "service")
    note(f"image built in {time.monotonic() - began:.0f} s")
    return IMAGE


@pytest.fixture(scope="package")
def stack(
    compose: list[str], image: str, tmp_path_factory: pytest.TempPathFactory, note: Callable[[str], None]
) -> Iterator[Stack]:
    """Three replicas with everything around them; ``test_stack_changes.py`` comes last, and takes it apart."""
    stack = Stack(compose, image, tmp_path_factory.mktemp("stack"), CIN_CANARY_SECONDS="2")
    try:
        note(f"three replicas took requests {stack.up(replicas=3):.1f} s after docker compose up")
        yield stack
    finally:
        stack.down()


@pytest.fixture(scope="package")
def client(stack: Stack) -> Iterator[httpx.Client]:
    """A client of the stack's proxy."""
    with httpx.Client(base_url=stack.url, timeout=30) as client:
        yield client
