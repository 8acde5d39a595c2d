"""Fixtures shared by all tests, and which tests are unit tests."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import nullcontext
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings

from service import runtime
from service.bundle import Bundle, load_bundle
from service.imaging.fork_server import ForkServer
from service.settings import SHIPPED_BUNDLE
from tests.paths import TESTS, find_data

# How long an example takes depends on the machine.
settings.register_profile("without-deadline", deadline=None)
settings.load_profile("without-deadline")

# Tests that start processes, train for longer than a second, or drive a browser or the stack: by folder, module or
# name, or by what they stand on.
INTEGRATION = (
    "clients",
    "compose",
    "helm",
    "model_training/cli",
    "model_training/data/audit/test_audit.py",
    "model_training/data/audit/test_real_sets.py",
    "model_training/data/download/test_download.py::test_a_second_download_into_the_same_folder",
    "model_training/evaluation/test_out_of_fold.py",
    "model_training/evaluation/test_statistics.py::test_delong_agrees_with_the_bootstrap",
    "model_training/evaluation/test_test_ledger.py",
    "model_training/network/test_network.py::test_gradients_reach_every_parameter_after_one_step",
    "model_training/network/test_network.py::test_first_stage_learns_eight_masks_by_heart",
    "model_training/network/test_network.py::test_second_stage_learns_eight_pairs_by_heart",
    "model_training/network/test_relatives.py",
    "model_training/release",
    "model_training/reporting/test_judgement.py::test_discrimination_is_scikit_learns",
    "model_training/studies",
    "model_training/training",
    "page",
    "service/access",
    "service/admission/test_callers.py",
    "service/api/test_faults.py",
    "service/api/test_nothing_on_disk.py",
    "service/api/test_privacy.py",
    "service/api/test_same_origin.py",
    "service/audit",
    "service/bundle/test_drift_reference.py",
    "service/bundle/test_shipped_bundle.py",
    "service/cli",
    "service/dicom/test_judges.py",
    "service/imaging/test_hostile.py",
    "service/pacs/test_hostile_pacs.py",
    "service/pacs/test_loop.py",
    "service/pacs/test_source.py",
    "service/server",
    "test_corpus.py",
    "test_documented_commands.py",
)
INTEGRATION_FIXTURES = {"small_experiment", "finished_tables", "real_redis"}
# Groups that take minutes, the longest first: begun last, they would keep one worker busy while the others wait.
LONGEST = (
    "small_experiment",
    "compose",
    "finished_tables",
    "model_training/release/test_own_data.py",
    "model_training/training/test_distributed.py",
    "model_training/studies/test_distinguish_control.py",
    "page",
    "service/server/test_readers.py",
    "model_training/training/test_trainer.py",
)
# Each of these has a fixture that all its tests share.
TOGETHER = ("compose", "page")


def pytest_configure() -> None:
    """A list that names what is gone is out of date."""
    missing = [name for name in (*INTEGRATION, *TOGETHER) if not (TESTS / name.partition("::")[0]).exists()]
    if missing:
        raise pytest.UsageError(f"tests/conftest.py names what is not there: {', '.join(missing)}")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not import files without a test of the selection: that takes longer than most of the tests."""
    selection: str = config.getoption("markexpr")
    if selection == "alone":
        return None if any(file.is_relative_to(collection_path) for file in _alone()) else True
    if "not integration" in selection:
        return collection_path.relative_to(TESTS).as_posix() in INTEGRATION or None
    return None


@cache
def _alone() -> list[Path]:
    """The files of the tests marked ``alone``."""
    return [path for path in TESTS.rglob("test_*.py") if "mark.alone" in path.read_text(encoding="utf-8")]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests, and keep on one worker of pytest-xdist what shares an expensive fixture."""
    groups = {item: _mark(item) for item in items}
    rank = {group: i for i, group in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(groups[item], len(rank)))


def _mark(item: pytest.Item) -> str:
    """Mark the test; its group."""
    # Of a/b.py::c[d]: a, a/b.py and a/b.py::c.
    path, _, name = item.nodeid.removeprefix("tests/").partition("::")
    parts = path.split("/")
    places = {"/".join(parts[: i + 1]) for i in range(len(parts))} | {f"{path}::{name.partition('[')[0]}"}
    shared = INTEGRATION_FIXTURES & set(getattr(item, "fixturenames", ()))
    if places.intersection(INTEGRATION) or shared or item.get_closest_marker("alone"):
        item.add_marker(pytest.mark.integration)
    group = min(places.intersection(TOGETHER) or shared, default=path)
    item.add_marker(pytest.mark.xdist_group(group))
    return group


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder that holds ``isic2016/``, ``isic2017/`` and ``samples/``."""
    folder = find_data()
    if folder is None:
        pytest.skip("real dermoscopy images are not there; set CIN_DATA")
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


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    """Forks the decoder processes of all services that tests run in this process.

    Each service starts its own otherwise, which takes a tenth of a second of CPU. What it forks takes milliseconds, and
    belongs to one service. Unit tests may use it: it starts before the first of them.
    """
    with ForkServer() as server:
        yield server


@pytest.fixture
def _shared_fork_server(fork_server: ForkServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Services of this process use the session's fork server, and leave it running."""
    monkeypatch.setattr(runtime, "ForkServer", lambda **_: nullcontext(fork_server))


@pytest.fixture(autouse=True)
def _no_process_in_a_unit_test(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A unit test that starts a process fails. The session's fork server has started; its forks are no processes of
    :mod:`subprocess`."""
    if request.node.get_closest_marker("integration") is None:
        monkeypatch.setattr(subprocess.Popen, "__init__", _refuse)


def _refuse(*_: object, **__: object) -> None:
    raise AssertionError("a unit test started a process; mark it with pytest.mark.integration")
