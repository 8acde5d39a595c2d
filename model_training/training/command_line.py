"""The command line as results record it: without folders of this machine."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parents[2]

# Options that name folders of this machine, or that limit the work of this call.
_LEFT_OUT = frozenset(
    {"--data", "--cache", "--run", "--runs", "--results", "--ledger", "--out", "--minutes", "--system", "--choice"}
    | {"--plan", "--figures"}
)

# Options without a value.
_FLAGS = frozenset({"--plan", "--force", "--keep-archives", "--accept-changed"})


def command_line() -> str:
    """The command that makes the whole result; the running one may make a part of it."""
    words, arguments = ["cin-train"], sys.argv[1:]
    while arguments:
        word = arguments.pop(0)
        option, joined, value = word.partition("=")
        if not option.startswith("--"):
            words.append(word)
            continue
        values = [value] if joined else []
        if not joined and option not in _FLAGS and arguments:
            values = [arguments.pop(0)]
        if option not in _LEFT_OUT:
            words += [option, *map(_without_folder, values)]
    return shlex.join(words)


def _without_folder(value: str) -> str:
    """``value`` as the file's name, or its path within the checkout."""
    key, assigned, path = value.partition("=")
    if assigned:
        return f"{key}={Path(path).name}" if key == "start" else value
    if not value.endswith(".toml"):
        return value
    resolved = Path(value).resolve()
    return str(resolved.relative_to(_CHECKOUT)) if resolved.is_relative_to(_CHECKOUT) else resolved.name
