"""The short torture violates nothing, and its parts tell right from wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.paths import REPOSITORY
from tests.torture.__main__ import AREAS
from tests.torture.failures import FAILURES, rows_of, verdict
from tests.torture.rows import Row, at_least, at_most, goal, none_of, p99

RESULT = REPOSITORY / "results" / "torture.json"


# Areas whose attacks are tests of tests/service as well.
TESTED = {
    "archives",
    "smuggling",
    "early answers",
    "slow uploads",
    "costly pictures",
    "stopped Redis",
    "audit file",
    "DICOM bombs",
    "overload",
    "inputs",
    "ledger",
    "jobs",
}


@pytest.mark.alone
def test_the_short_torture_violates_nothing(tmp_path: Path) -> None:
    assert AREAS.keys() > TESTED
    # The attacks mostly wait for a service's patience to end: the others run meanwhile.
    parts = {"attacks": ["attacks", "strangers"]}
    parts["others"] = [area for area in AREAS if area not in TESTED.union(parts["attacks"])]

    def run(name: str) -> subprocess.CompletedProcess[str]:
        chosen = [f"--only={area}" for area in parts[name]]
        command = [sys.executable, "-m", "tests.torture", "--short", "--out", str(tmp_path / f"{name}.json"), *chosen]
        return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=600, check=False)

    with ThreadPoolExecutor() as pool:
        for name, done in zip(parts, pool.map(run, parts), strict=True):
            assert done.returncode == 0, done.stderr[-3000:]
            result = json.loads((tmp_path / f"{name}.json").read_text())
            assert [check["name"] for check in result["checks"] if Row(**check).is_violation] == []
            assert "violated" not in result["failure_modes"].values()
            assert all(set(check) == {"name", "value", "limit", "ok"} for check in result["checks"])


def test_a_violation_is_what_must_not_happen_and_did() -> None:
    assert none_of("harm", 0).ok
    assert none_of("harm", 1).is_violation
    assert at_most("megabytes", 60, 50).is_violation
    assert at_least("control", 1, 50).is_violation
    assert not goal(at_most("milliseconds", 60, 50)).is_violation
    assert [at_most("", 50, 50).ok, at_most("", 51, 50).ok] == [True, False]
    assert [at_least("", 0.9, 0.9).ok, at_least("", 0.8, 0.9).ok] == [True, False]
    assert p99([1.0] * 98 + [5.0, 9.0]) == 9.0
    assert p99([]) == float("inf")


def test_a_failure_mode_is_held_by_all_of_its_evidence_alone() -> None:
    failure = next(f for f in FAILURES if f.name == "F29")
    rows = [none_of("overload: neither answered nor refused", 0), goal(at_most("overload: p99", 20, 50))]
    passed = dict.fromkeys(failure.tests, True)
    assert verdict(failure, rows, passed) == "held"
    assert verdict(failure, rows, {}) == "not run"
    assert verdict(failure, rows, dict.fromkeys(failure.tests)) == "not run", "skipped"
    assert verdict(failure, [], passed) == "not run"
    assert verdict(failure, [rows[0], goal(at_most("overload: p99", 80, 50))], passed) == "partly"
    assert verdict(failure, [none_of("overload: neither", 1), rows[1]], passed) == "violated"
    assert verdict(failure, rows, dict.fromkeys(failure.tests, False)) == "violated"
    on_gpu = next(f for f in FAILURES if f.needs_gpu)
    assert verdict(on_gpu, rows, {}) == "not verifiable without a GPU"
    assert [row.is_violation for row in rows_of([none_of("overload: neither", 1)], {})].count(True) == 2  # F3, F29


def test_there_are_thirty_and_their_tests_exist() -> None:
    assert [failure.number for failure in FAILURES] == list(range(1, 31))
    for failure in FAILURES:
        assert failure.rows or failure.tests, failure.name
        assert failure.open if failure.needs_gpu else not failure.open, failure.name
        for test in failure.tests:
            path, _, name = test.partition("::")
            assert f"def {name}(" in (REPOSITORY / path).read_text(encoding="utf-8"), test


@pytest.fixture
def result() -> dict[str, object]:
    """What the last full run wrote."""
    loaded: dict[str, object] = json.loads(RESULT.read_text(encoding="utf-8"))
    return loaded


def test_what_was_measured_is_a_full_run_that_violated_nothing(result: dict[str, object]) -> None:
    assert result["short"] is False
    rows = [Row(**check) for check in result["checks"]]  # type: ignore[attr-defined]
    assert [row.name for row in rows if row.is_violation] == []
    assert set(result["failure_modes"]) == {failure.name for failure in FAILURES}  # type: ignore[call-overload]
    for failure in FAILURES:
        for start in failure.rows:
            assert any(row.name.startswith(start) for row in rows), start
