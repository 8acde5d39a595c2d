"""Fixtures shared by all tests, and which tests are unit tests."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from service.bundle import Bundle, load_bundle
from service.settings import SHIPPED_BUNDLE

REPOSITORY = Path(__file__).parent.parent

# What makes a test more than a unit test: where it is, or what it stands on.
INTEGRATION_FOLDERS = {"compose", "page"}
INTEGRATION_FIXTURES = {"small_experiment", "real_redis"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark integration tests, and keep together on one worker what shares an expensive fixture."""
    for item in items:
        folder = item.path.relative_to(REPOSITORY / "tests").parts[0]
        shared = INTEGRATION_FIXTURES & set(getattr(item, "fixturenames", ()))
        if folder in INTEGRATION_FOLDERS or shared or item.get_closest_marker("alone"):
            item.add_marker(pytest.mark.integration)
        group = folder if folder in INTEGRATION_FOLDERS else min(shared, default=str(item.path))
        item.add_marker(pytest.mark.xdist_group(group))


def find_data() -> Path | None:
    """The folder of real dermoscopy pictures, where there is one."""
    folder = Path(os.environ.get("CIN_DATA", REPOSITORY.parent / "shared" / "data"))
    return folder if (folder / "isic2017").is_dir() else None


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder that holds ``isic2016/``, ``isic2017/`` and ``samples/``."""
    folder = find_data()
    if folder is None:
        pytest.skip("real dermoscopy pictures are not there; set CIN_DATA")
    return folder


@pytest.fixture(scope="session")
def shipped_bundle() -> Bundle:
    """The bundle in the repository."""
    return load_bundle(SHIPPED_BUNDLE)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the caller's environment, or of a ``.env`` in the working directory, reaches a test."""
    for name in list(os.environ):
        if name.startswith("CIN_") and name != "CIN_DATA":
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _no_process_in_a_unit_test(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A unit test that starts a process fails."""
    if request.node.get_closest_marker("integration") is None:
        monkeypatch.setattr(subprocess.Popen, "__init__", _refuse)


def _refuse(*_: object, **__: object) -> None:
    raise AssertionError("a unit test started a process; mark it with pytest.mark.integration")
