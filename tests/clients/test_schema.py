"""The OpenAPI schema: its linter, and what generated clients rely on."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from service.problems import PROBLEM_TYPES
from tests.clients.conftest import tool
from tests.paths import REPOSITORY
from tests.service.tiny_bundle import CLASSES

pytestmark = pytest.mark.xdist_group("clients")

RULES = REPOSITORY / "tests" / "clients" / ".spectral.yml"


def test_the_linter_finds_nothing(schema: Path) -> None:
    command = [tool("spectral"), "lint", "--ruleset", str(RULES), "--fail-severity", "warn", str(schema)]
    linted = subprocess.run(command, capture_output=True, text=True)
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_names_of_the_bundle_are_enumerated(schema: Path) -> None:
    schemas = json.loads(schema.read_text())["components"]["schemas"]
    assert schemas["Diagnosis"]["enum"] == list(CLASSES)
    assert schemas["OperatingPointName"]["enum"] == ["balanced", "high-sensitivity"]
    assert schemas["Problem"]["properties"]["type"]["enum"] == [problem.uri for problem in PROBLEM_TYPES]


def test_every_problem_is_one_component(schema: Path) -> None:
    content = json.loads(schema.read_text())
    problems = [
        media["schema"]
        for path in content["paths"].values()
        for operation in path.values()
        for response in operation["responses"].values()
        for kind, media in response.get("content", {}).items()
        if kind == "application/problem+json"
    ]
    assert problems
    assert all(problem == {"$ref": "#/components/schemas/Problem"} for problem in problems)


def test_every_field_of_an_answer_is_described(schema: Path) -> None:
    schemas = json.loads(schema.read_text())["components"]["schemas"]

    def undescribed(name: str, seen: set[str]) -> list[str]:
        found = []
        for field, of in schemas[name].get("properties", {}).items():
            targets = _references(of)
            if "description" not in of and not targets:
                found.append(f"{name}.{field}")
            for target in targets - seen:
                found += undescribed(target, seen | targets)
        return found

    assert undescribed("Prediction", set()) == []
    assert undescribed("BatchAnswers", set()) == []


def _references(of: Any) -> set[str]:
    if isinstance(of, dict):
        own = {of["$ref"].rpartition("/")[2]} if "$ref" in of else set()
        return own.union(*(_references(value) for value in of.values()))
    return set().union(*map(_references, of)) if isinstance(of, list) else set()
