"""The README's commands."""

from __future__ import annotations

import re

from tests.conftest import REPOSITORY


def readme_commands() -> list[str]:
    """Every line of every ``sh`` block of the README, in order, without its comment."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    lines = (line.partition("  #")[0].rstrip() for block in blocks for line in block.splitlines())
    return [line for line in lines if line]


def training_commands() -> list[str]:
    """Those that train."""
    return [command for command in readme_commands() if command.startswith(".venv/bin/cin-train ")]
