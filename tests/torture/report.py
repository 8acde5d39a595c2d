"""The generated tables of ``docs/reliability.md``, from ``results/torture.json``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tests.torture.failures import FAILURES, Failure
from tests.torture.rows import Row

Result = Mapping[str, Any]


def tables(result: Result) -> dict[str, str]:
    """Every table, by name."""
    return {"measured": _measured(result), "figures": _figures(result), "failures": _failures(result)}


def _measured(result: Result) -> str:
    checks = result["checks"]
    rows = [Row(**check) for check in checks]
    zero = [row for row in rows if row.limit == "0"]
    violated = sum(row.is_violation for row in rows)
    missed = sum(not row.ok for row in rows) - violated
    return (
        f"`make torture` on {result['machine']}, {result['measured_at'][:10]}, in {result['seconds'] // 60} minutes: "
        f"{len(checks)} checks, {len(zero)} of which count what must never happen. Violated: {violated}. Missed goals, "
        f"which depend on the machine: {missed}."
    )


def _figures(result: Result) -> str:
    rows = [
        [check["name"], f"{check['value']:g}", check["limit"], _outcome(check)]
        for check in result["checks"]
        if check["limit"] != "0"
    ]
    refused = re.compile(r"bad inputs, .* \(\d+ tried\): not .*")
    rows += [
        [check["name"], f"{check['value']:g}", "0", _outcome(check)]
        for check in result["checks"]
        if refused.fullmatch(check["name"])
    ]
    return _table(("Check", "Value", "Limit", ""), rows)


def _outcome(check: Mapping[str, Any]) -> str:
    return "" if check["ok"] else "**violated**" if Row(**check).is_violation else "**missed**"


def _failures(result: Result) -> str:
    rows = [[f.name, f.title, f.behaviour, _evidence(f), _said(f, result["failure_modes"][f.name])] for f in FAILURES]
    return _table(("", "Known failure", "Here", "Shown by", "Verdict"), rows)


def _said(failure: Failure, verdict: str) -> str:
    return f"{verdict}: {failure.open}" if failure.open else verdict


def _evidence(failure: Failure) -> str:
    modules: dict[str, int] = {}
    for test in failure.tests:
        path = test.partition("::")[0]
        modules[path] = modules.get(path, 0) + 1
    tests = [f"{num} test{'s' * (num > 1)} in `{path}`" for path, num in modules.items()]
    return "; ".join([*(f"checks *{start}*" for start in failure.rows), *tests])


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
