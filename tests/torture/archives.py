"""``cin predict`` on an archive of odd names is interrupted again and again: every picture is answered once."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote

from tests.odd_archive import write_odd_archive
from tests.paths import REPOSITORY
from tests.torture.plan import Plan
from tests.torture.rows import Row, at_least, none_of

_PROGRAM = [sys.executable, "-c", "from service.cli.__main__ import main; main()"]
_OVERLAYS = {"lesion.png", "spatial.png", "correlation.png"}

# Ways to interrupt a command, and how it may end then.
_EXIT_CODES = {
    "SIGINT": {130, -signal.SIGINT},
    "SIGTERM": {-signal.SIGTERM},
    "SIGKILL": {-signal.SIGKILL},
    "SIGINT twice": {130, -signal.SIGINT},
    "full disk": {1},
    "another command": {-signal.SIGKILL},
}


def check(plan: Plan, _: Path) -> Iterator[Row]:
    """Both kinds of results files; overlays with the first."""
    for suffix in ("csv", "jsonl"):
        with tempfile.TemporaryDirectory() as folder:
            yield from check_in(Path(folder), plan, suffix)


def check_in(folder: Path, plan: Plan, suffix: str) -> Iterator[Row]:
    """The checks of one kind of file, in an empty folder that keeps the archive and its results."""
    archive, out, overlays = folder / "archive", folder / f"results.{suffix}", folder / "overlays"
    write_odd_archive(archive, plan.archive_pictures)
    options = [str(archive), "--out", str(out), *(["--overlay", str(overlays)] if suffix == "csv" else [])]
    command = [*_PROGRAM, "predict", *options]
    found, chance = Counter[str](), random.Random(suffix)
    answered: set[str] = set()
    for i in range(plan.archive_interruptions):
        how = list(_EXIT_CODES)[i % len(_EXIT_CODES)]
        done = _interrupt(command, plan, out, how, chance)
        found["interrupted at work"] += done.returncode != 0
        found["other exit codes"] += done.returncode not in {0, *_EXIT_CODES[how]}
        found["tracebacks and aborts"] += "Traceback" in done.stderr or "terminate called" in done.stderr
        found["two commands at once"] += done.both_wrote
        now = answers_in(out)
        found["answers lost"] += len(answered - set(now))
        found["answered twice"] += len(now) - len(set(now))
        answered = set(now)
        if how == "SIGKILL" or done.returncode == 0:  # a loss of power; of more where nothing is left to do
            cut = chance.randrange(300 if done.returncode else _size(out))
            os.truncate(out, max(0, _size(out) - cut))
            answered = set(answers_in(out))
    last = subprocess.run(
        command, cwd=REPOSITORY, env={**os.environ, **plan.settings()}, capture_output=True, check=False
    )
    pictures = sorted(str(path) for path in archive.rglob("*") if path.is_file())
    answers = answers_in(out)
    import pandas  # takes a second, which the other areas do not need

    read = pandas.read_csv(out) if suffix == "csv" else pandas.read_json(out, lines=True)
    name = f"archives {suffix}"
    yield at_least(f"{name}: interruptions of work", found.pop("interrupted at work"), plan.archive_interruptions / 2)
    for what, num in found.items():
        yield none_of(f"{name}: {what}", num)
    yield none_of(f"{name}: last command failed", last.returncode)
    yield none_of(f"{name}: pictures without exactly one answer", sum((Counter(pictures) - Counter(answers)).values()))
    yield none_of(f"{name}: answers too many", sum((Counter(answers) - Counter(pictures)).values()))
    yield none_of(f"{name}: rows that pandas reads otherwise", abs(len(read) - len(pictures)))
    yield none_of(f"{name}: files left", len({p.name for p in folder.iterdir()} - {"archive", "overlays", out.name}))
    if suffix == "csv":
        sets = Counter(path.parent for path in overlays.rglob("*.png") if path.is_file() and path.name in _OVERLAYS)
        yield none_of(f"{name}: pictures without overlays", abs(len(sets) - len(pictures)))
        yield none_of(f"{name}: half overlays", len(list(overlays.rglob("*.part"))))


class _Done:
    """How an interrupted command ended."""

    def __init__(self, process: subprocess.Popen[str], *, both_wrote: bool) -> None:
        self.stderr = process.communicate(timeout=300)[1]
        self.returncode, self.both_wrote = process.returncode, both_wrote


def _interrupt(command: list[str], plan: Plan, out: Path, how: str, chance: random.Random) -> _Done:
    """Begin the command and interrupt it after some of its bytes; one in eight while it starts."""
    begun = out.stat().st_size if out.exists() else 0
    room = begun + chance.randrange(200, 4_000)
    process = _start(command, plan, room if how == "full disk" else None)
    if how == "full disk":
        return _Done(process, both_wrote=False)
    until = time.monotonic() + (chance.uniform(0, 3) if chance.random() < 1 / 8 else 120)
    while process.poll() is None and time.monotonic() < until and _size(out) < room:
        time.sleep(0.002)
    both_wrote = False
    if how == "another command" and process.poll() is None and _size(out) >= room:
        process.send_signal(signal.SIGSTOP)  # or it would be through before the other has begun
        other = _Done(_start(command, plan), both_wrote=False)
        both_wrote = "another command writes" not in other.stderr
    name, _, twice = ("SIGKILL" if how == "another command" else how).partition(" ")
    for number in [signal.Signals[name]] * (2 if twice else 1):
        if process.poll() is None:
            # As a terminal does, the whole group; a kill hits the command alone.
            (os.kill if number == signal.SIGKILL else os.killpg)(process.pid, number)
        time.sleep(chance.choice([0, 0.02, 0.1]))
    return _Done(process, both_wrote=both_wrote)


def _start(command: list[str], plan: Plan, room: int | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env={**os.environ, **plan.settings()},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
        preexec_fn=_prepare(room),
    )


def _prepare(room: int | None) -> Callable[[], None]:
    def prepare() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored in a shell's background
        if room is not None:  # no file may grow further, which is how a full disk looks
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))

    return prepare


def _size(out: Path) -> int:
    return out.stat().st_size if out.exists() else 0


def answers_in(out: Path) -> list[str]:
    """The pictures that have an answer, in the complete lines of a results file."""
    data = out.read_bytes() if out.exists() else b""
    text = data[: data.rfind(b"\n") + 1].decode()
    rows = csv.DictReader(io.StringIO(text)) if out.suffix == ".csv" else map(json.loads, text.splitlines())
    return [unquote(row["picture"], errors="surrogateescape") for row in rows if not row.get("error")]
