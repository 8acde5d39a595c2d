"""One step of the benchmark of archives, in a process of its own, which then says what it took.

``python -m tests.benchmarks.archive_steps STEP PATH...``; the last line is JSON.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from pydantic_core import from_json

from service.bundle import load_bundle
from service.cli.archive import list_pictures
from service.cli.main import app
from service.cli.results_file import ResultsFile
from service.cli.tables import table_of
from service.settings import Settings


def start(*_: Path) -> int:
    """What every command does first."""
    load_bundle(Settings().bundle)
    return 0


def parse(path: Path) -> int:
    """How many rows of a JSON-lines file are objects: the least that to resume can take on this machine."""
    with path.open("rb") as file:
        return sum(isinstance(from_json(line), dict) for line in file)


def resume(path: Path, archive: Path) -> int:
    """Open a results file to continue it, and list the archive; how many pictures have an answer."""
    manifest, table = load_bundle(Settings().bundle).manifest, table_of(path)
    with path.open("rb") as file:
        judged_by = table.judged_by(table.parse(next(table.records(file))))
    with ResultsFile(path, manifest, judged_by) as results:
        return sum(map(results.has, list_pictures([archive], Counter())))


def merge(*paths: Path) -> int:
    """``cin results merge``; the last path is the new file."""
    *parts, out = map(str, paths)
    return _cin("results", "merge", *parts, "--out", out)


def check(*paths: Path) -> int:
    """``cin results check``."""
    return _cin("results", "check", *map(str, paths))


def list_folder(folder: Path) -> int:
    """List the pictures in a folder and below."""
    return sum(1 for _ in list_pictures([folder], Counter()))


def _cin(*arguments: str) -> int:
    """The exit status of a command."""
    return app(list(arguments), standalone_mode=False) or 0


STEPS: dict[str, Callable[..., int]] = {f.__name__: f for f in (start, parse, resume, merge, check, list_folder)}


def main() -> None:
    """Print what the step returned, and seconds of CPU time and the highest resident memory of this process."""
    returned = STEPS[sys.argv[1]](*map(Path, sys.argv[2:]))
    # Not `ru_maxrss`, which begins with that of the process that started this one.
    peak = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(encoding="ascii"), re.MULTILINE)
    assert peak is not None
    figures = {"returned": returned, "cpu_seconds": time.process_time(), "peak_mb": 1.024e-3 * int(peak[1])}
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
