"""Verdicts on the known failures of ``failures.toml``, from the checks and tests that are their evidence.

A failure mode is *held* when there is evidence and all of it is; some need hardware that is not everywhere.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

from pydantic import BaseModel

from tests.paths import REPOSITORY
from tests.torture.rows import Row

Verdict = Literal["held", "violated", "partly", "not verifiable without a GPU", "not run"]


class Failure(BaseModel, frozen=True, extra="forbid"):
    """One way to fail, as ``failures.toml`` describes it."""

    number: int
    title: str
    behaviour: str
    rows: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    open: str = ""
    needs_gpu: bool = False

    @property
    def name(self) -> str:
        """As reports call it."""
        return f"F{self.number}"


_TABLE = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
FAILURES = tuple(Failure.model_validate(entry) for entry in _TABLE["failure"])


def verdict(failure: Failure, rows: Sequence[Row], tests: Mapping[str, bool | None]) -> Verdict:
    """What the checks and tests say; ``tests`` are outcomes by name, None or absent where they did not run."""
    shown = [row for row in rows if row.name.startswith(failure.rows)] if failure.rows else []
    outcomes = [tests.get(name) for name in failure.tests]
    if any(row.is_violation for row in shown) or False in outcomes:
        return "violated"
    if failure.needs_gpu:
        return "not verifiable without a GPU"
    if None in outcomes or not all(any(row.name.startswith(start) for row in shown) for start in failure.rows):
        return "not run"
    return "held" if all(row.ok for row in shown) else "partly"


def run_tests() -> dict[str, bool | None]:
    """Run every test that is evidence; whether all cases of each passed, of those that were not skipped.

    None where all were skipped: some need Docker.
    """
    names = sorted({name for failure in FAILURES for name in failure.tests})
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        subprocess.run(
            [sys.executable, "-m", "pytest", "-q", f"--junit-xml={report}", *names],
            cwd=REPOSITORY,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=900,
            check=False,
        )
        cases = list(ElementTree.parse(report).iter("testcase"))
    return {name: _passed(name, cases) for name in names}


def _passed(name: str, cases: Sequence[ElementTree.Element]) -> bool | None:
    path, _, function = name.partition("::")
    module = path.removesuffix(".py").replace("/", ".")
    own = [c for c in cases if c.get("classname") == module and (c.get("name") or "").partition("[")[0] == function]
    ran = [case for case in own if case.find("skipped") is None]
    if own and not ran:
        return None
    return bool(ran) and all(case.find("failure") is None and case.find("error") is None for case in ran)


def rows_of(rows: Sequence[Row], tests: Mapping[str, bool | None]) -> Iterator[Row]:
    """One row for each failure mode: 0 where nothing speaks against it."""
    for failure in FAILURES:
        found = verdict(failure, rows, tests)
        yield Row(f"{failure.name}, {failure.title}: {found}", float(found == "violated"), "0", found != "violated")
