"""The commands of the documentation: every line of every ``sh`` block."""

from __future__ import annotations

import re

from tests.paths import REPOSITORY

# What runs a command, by how it begins; behind settings such as ``CIN_KEYS=keys.json``.
KINDS = {
    "make ": "make",
    "curl ": "curl",
    ".venv/bin/cin ": "cin",
    ".venv/bin/cin-train ": "train",
    "cin-train ": "train",
    ".venv/bin/python -m openapi_python_client ": "client",
    "docker compose ": "compose",
    "helm ": "helm",
    "echo ": "shell",
}
_SETTINGS = re.compile(r"^(?:[A-Z_]+=\S+ )*")


def documented_commands() -> list[str]:
    """Each once, in order, as one line and without its comment."""
    pages = [*sorted(REPOSITORY.glob("*.md")), *sorted((REPOSITORY / "docs").rglob("*.md"))]
    found: dict[str, None] = {}
    for page in pages:
        for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            for line in re.sub(r"\s*\\\n\s*", " ", block).splitlines():
                command = line.partition("  #")[0].strip()
                if command and not command.startswith("#"):
                    found[command] = None
    return list(found)


def kind_of(command: str) -> str | None:
    """Which of the test modules' runners takes the command; None for an unknown one."""
    program = _SETTINGS.sub("", command)
    return next((kind for start, kind in KINDS.items() if program.startswith(start)), None)


def commands_of(kind: str) -> list[str]:
    """The documented commands of one kind."""
    return [command for command in documented_commands() if kind_of(command) == kind]
