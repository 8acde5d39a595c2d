"""Fixtures shared by all tests, and which tests are unit tests."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from service.bundle import Bundle, load_bundle
from service.settings import SHIPPED_BUNDLE

REPOSITORY = Path(__file__).parent.parent

TESTS = REPOSITORY / "tests"

# Tests that start processes, train, or drive a browser or the stack: by folder or module, or by what they stand on.
INTEGRATION = (
    "compose",
    "model_training/cli",
    "model_training/evaluation/test_test_ledger.py",
    "model_training/release",
    "model_training/studies",
    "model_training/training",
    "page",
    "service/access/test_access.py",
    "service/api/test_faults.py",
    "service/api/test_privacy.py",
    "service/audit",
    "service/bundle/test_drift_reference.py",
    "service/bundle/test_shipped_bundle.py",
    "service/cli",
    "service/imaging/test_hostile.py",
    "service/server",
    "test_documented_commands.py",
)
INTEGRATION_FIXTURES = {"small_experiment", "real_redis"}
# These measure time or overload the machine.
ALONE = ("service/server/test_overload.py", "service/server/test_connections.py")
# Each of these has a fixture that all its tests share.
TOGETHER = ("compose", "page")


def pytest_configure() -> None:
    """A list that names what is gone is out of date."""
    missing = [name for name in (*INTEGRATION, *ALONE, *TOGETHER) if not (TESTS / name).exists()]
    if missing:
        raise pytest.UsageError(f"tests/conftest.py names what is not there: {', '.join(missing)}")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests, and keep on one worker of pytest-xdist what shares an expensive fixture."""
    for item in items:
        places = {item.path, *item.path.parents}

        def within(names: tuple[str, ...], places: set[Path] = places) -> str | None:
            return next((name for name in names if TESTS / name in places), None)

        shared = INTEGRATION_FIXTURES & set(getattr(item, "fixturenames", ()))
        if within(ALONE):
            item.add_marker(pytest.mark.alone)
        if within(INTEGRATION) or shared or item.get_closest_marker("alone"):
            item.add_marker(pytest.mark.integration)
        group = within(TOGETHER) or min(shared, default=item.nodeid.partition("::")[0])
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
