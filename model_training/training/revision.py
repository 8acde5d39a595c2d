"""Which commit of this repository runs."""

from __future__ import annotations

import subprocess
from pathlib import Path


def git_commit() -> str:
    """The commit of this code, with ``-dirty`` when code has changed since; ``unknown`` outside a checkout."""
    here = Path(__file__).parents[1]

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here.parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        # Only code counts: runs write results and the ledger into the checkout.
        changed = git("status", "--porcelain", "--untracked-files=no", "--", here.name, "service/*.py")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit}-dirty" if changed else commit
