"""Run every check and write ``results/torture.json``; the exit code tells whether something happened that must not."""

from __future__ import annotations

import json
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from model_training.files import write_text
from model_training.training.revision import git_commit
from service.bundle import load_bundle
from service.settings import Settings
from tests.paths import REPOSITORY, find_data
from tests.processor import processor
from tests.service.tiny_bundle import write_tiny_bundle
from tests.torture import (
    archives,
    attacks,
    audit_file,
    costly,
    crashes,
    dicom_bombs,
    early_answers,
    failures,
    inputs,
    jobs,
    ledger,
    overload,
    schema,
    shutdown,
    slow_uploads,
    smuggling,
    soak,
    stopped_redis,
    storage,
    strangers,
)
from tests.torture.plan import Plan, short
from tests.torture.rows import Row

AREAS: dict[str, Callable[[Plan, Path], Iterator[Row]]] = {
    "inputs": inputs.check,
    "costly pictures": costly.check,
    "DICOM bombs": dicom_bombs.check,
    "attacks": attacks.check,
    "smuggling": smuggling.check,
    "early answers": early_answers.check,
    "slow uploads": slow_uploads.check,
    "overload": overload.check,
    "soak": soak.check,
    "storage": storage.check,
    "stopped Redis": stopped_redis.check,
    "audit file": audit_file.check,
    "shutdown": shutdown.check,
    "crashes": crashes.check,
    "strangers": strangers.check,
    "ledger": ledger.check,
    "jobs": jobs.check,
    "archives": archives.check,
    "schema": schema.check,
}


def picture_to_send() -> Path:
    """A real original where there is one, else the shipped bundle's canary."""
    data, bundle = find_data(), load_bundle(Settings().bundle)
    found = sorted((data / "samples").glob("*.jpg")) if data else []
    return found[0] if found else bundle.path(bundle.manifest.canary.picture)


def result_of(plan: Plan, rows: list[Row], seconds: float) -> dict[str, Any]:
    """What is written of the checks."""
    return {
        "command": "python -m tests.torture " + " ".join(sys.argv[1:]),
        "measured_at": _now(),
        "git_commit": git_commit(),
        "machine": processor(),
        "python": platform.python_version(),
        "short": plan.own_bundle is not None,
        "seconds": round(seconds),
        "checks": [row.as_json() for row in rows],
    }


def judged(result: dict[str, Any], tests: dict[str, bool | None]) -> dict[str, Any]:
    """The same with a verdict on each known failure, from its checks and from the outcomes of ``tests``."""
    verdicts = {failure.name for failure in failures.FAILURES}
    rows = [Row(**check) for check in result["checks"] if check["name"].split(",")[0] not in verdicts]
    return {
        **result,
        "tests": {"at": _now(), "git_commit": git_commit(), "run": len(tests)},
        "failure_modes": {f.name: failures.verdict(f, rows, tests) for f in failures.FAILURES},
        "checks": [row.as_json() for row in [*rows, *failures.rows_of(rows, tests)]],
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def shown(result: dict[str, Any]) -> Table:
    """The table for the terminal."""
    table = Table("check", "value", "limit", "")
    for row in result["checks"]:
        outcome = "ok" if row["ok"] else "violated" if Row(**row).is_violation else "missed"
        table.add_row(row["name"], f"{row['value']:g}", row["limit"], outcome, style="" if row["ok"] else "bold")
    return table


def main(
    is_short: Annotated[bool, typer.Option("--short", help="Small numbers and a tiny network: two minutes.")] = False,
    only: Annotated[list[str] | None, typer.Option(help=f"Areas: {', '.join(AREAS)}; all by default.")] = None,
    tests_only: Annotated[
        bool, typer.Option("--tests-only", help="Run only the tests behind the known failures; the checks stay.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="File of the figures; default: results/torture.json.")] = None,
) -> None:
    """Attacks, faults, overload and bad input against services on this machine."""
    if unknown := set(only or ()) - set(AREAS):
        raise typer.BadParameter(f"there is no {', '.join(unknown)}; choose among {', '.join(AREAS)}")
    # SIGTERM must end the services as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    console = Console(stderr=True, width=160)
    path = out or REPOSITORY / "results" / "torture.json"
    # In CI all tests run anyway, next to the short version; the long one records that they passed on this machine.
    run_tests = tests_only or not (is_short or only)
    result = json.loads(path.read_text(encoding="utf-8")) if tests_only else _run_checks(is_short, only, console)
    result = judged(result, failures.run_tests() if run_tests else {})
    write_text(path, json.dumps(result, indent=2) + "\n")
    Console(width=160).print(shown(result))
    violated = [row["name"] for row in result["checks"] if Row(**row).is_violation]
    console.print(f"{len(result['checks'])} checks, {len(violated)} violated; written to {path}", markup=False)
    raise typer.Exit(bool(violated))


def _run_checks(is_short: bool, only: list[str] | None, console: Console) -> dict[str, Any]:
    began, rows = time.monotonic(), []
    with tempfile.TemporaryDirectory() as folder:
        plan = short(write_tiny_bundle(Path(folder) / "tiny").folder) if is_short else Plan()
        for name, check in AREAS.items():
            if only and name not in only:
                continue
            for row in check(plan, picture_to_send()):
                rows.append(row)
                console.print(f"{row.name}: {row.value:g}, {row.limit}", style="" if row.ok else "bold", markup=False)
    return result_of(plan, rows, time.monotonic() - began)


if __name__ == "__main__":
    typer.run(main)
