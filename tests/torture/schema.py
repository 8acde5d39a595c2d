"""Schemathesis over the OpenAPI description, with all of its checks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from xml.etree import ElementTree

from tests.paths import REPOSITORY
from tests.torture.plan import Plan
from tests.torture.rows import Row, at_least, none_of
from tests.torture.served import Served
from tests.torture.strangers import make_key

FOLDER = Path(__file__).parent


def check(plan: Plan, picture: Path) -> Iterator[Row]:  # noqa: ARG001 - every area has the same signature
    """No 5xx, answers as described, wrong ones refused, nothing usable after it was deleted."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        keys = Path(folder) / "keys.json"
        key = make_key(keys, "schemathesis")
        served = stack.enter_context(Served(plan.settings() | {"CIN_KEYS": str(keys)}, key=key))
        report = Path(folder) / "report.xml"
        done = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli"),
                *("--config-file", str(FOLDER / "schemathesis.toml")),
                *("run", f"{served.url}/openapi.json", "--checks", "all", "--no-color", "--seed", "1"),
                *("--header", f"Authorization: Bearer {key}"),
                *("--max-examples", str(plan.schema_examples), "--continue-on-failure"),
                *("--report", "junit", "--report-junit-path", str(report)),
            ],
            cwd=folder,
            env=os.environ
            | {"SCHEMATHESIS_HOOKS": "tests.torture.pictures_for_schemathesis", "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        failures = list(ElementTree.parse(report).iter("failure")) if report.exists() else []
        errors = served.metric("cin_rejected_total", reason="internal-error")
    for failure in failures:
        print(failure.get("message"), file=sys.stderr)  # noqa: T201
    cases = re.search(r"(\d+) generated", done.stdout)
    links = re.search(r"(\d+) covered", done.stdout)
    yield none_of("schemathesis, all checks: operations that fail one", len(failures))
    yield none_of("schemathesis: answers of 500", errors)
    yield none_of("schemathesis: exit code", done.returncode)
    yield at_least("schemathesis: requests", int(cases[1]) if cases else 0, 100)
    yield at_least("schemathesis: links between operations followed", int(links[1]) if links else 0, 1)
