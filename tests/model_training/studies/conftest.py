"""Small tables, made once for all tests that look at them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.model_training.narrow import narrow_networks
from tests.model_training.studies.small_tables import SmallTables


def _hurry(patch: pytest.MonkeyPatch) -> None:
    """A tenth of the bootstrap samples, and plans that time no network; those take longer than the small trainings."""
    for module in ("table_report", "comparisons", "ablations"):
        patch.setattr(f"model_training.studies.{module}.NUM_RESAMPLES", 200)
    for timed in ("time_area_batch", "time_recognition_batch"):
        patch.setattr(f"model_training.studies.plan.{timed}", lambda config: 1.0)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small studies take seconds."""
    _hurry(monkeypatch)


@pytest.fixture(scope="package")
def finished_tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallTables]:
    """Two systems of Table 1 with two seeds, and one of Table 2 with one."""
    root = tmp_path_factory.mktemp("tables")
    small = SmallTables(root)
    for arguments in (
        ("--table=1", "--system=baseline", "--system=a", "--seeds=2"),
        ("--table=2", "--system=cin", "--seeds=1"),
    ):
        with pytest.MonkeyPatch.context() as patch, narrow_networks():
            _hurry(patch)
            result = small.command("reproduce", *arguments)
        assert result.exit_code == 0, result.output
    yield small
    shutil.rmtree(root)


@pytest.fixture
def small_tables(finished_tables: SmallTables, monkeypatch: pytest.MonkeyPatch) -> SmallTables:
    """The finished tables. Tests may add trials and outcomes, not change those that are there."""
    _hurry(monkeypatch)
    return finished_tables
