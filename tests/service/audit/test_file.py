"""The audit log on a real disk: killed, torn, full, shared, put aside."""

from __future__ import annotations

import json
import re
import resource
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from service.audit.chain import Entry, Head, Verdict, to_line, verify
from service.audit.file import AuditError, AuditFile, AuditWriteError
from tests.conftest import REPOSITORY

LARGE = 2**20


def _open(path: Path, max_bytes: int = LARGE) -> AuditFile:
    return AuditFile(path, max_bytes=max_bytes)


def _lines(*paths: Path) -> list[bytes]:
    return [line for path in paths for line in path.read_bytes().splitlines(keepends=True)]


def _entries(*paths: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in _lines(*paths)]


def _check(*paths: Path) -> Verdict:
    return verify(_lines(*paths))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit" / "audit.jsonl"


def _append(file: AuditFile, *names: str, **details: Any) -> None:
    file.append([Entry.now(name, **details) for name in names])


def test_it_goes_on_where_it_ended(path: Path) -> None:
    for name in ("a", "b"):
        file = _open(path)
        _append(file, name, name.upper())
        file.close()
    assert [entry["what"] for entry in _entries(path)] == ["a", "A", "b", "B"]
    assert _check(path).head == _open(path).head
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


# Tells how many entries are on the disk for certain, after each few.
_WRITER = """
import sys
from pathlib import Path
from service.audit.chain import Entry
from service.audit.file import AuditFile
file = AuditFile(Path(sys.argv[1]), max_bytes=20_000)
print("ready", flush=True)
while True:
    file.append([Entry.now("prediction", text="x" * 200) for _ in range(5)])
    print(file.head.seq, flush=True)
"""


def test_killed_at_any_moment_it_verifies_and_has_lost_nothing(path: Path) -> None:
    """Twenty times, each writer on the log of the one before, and put aside now and then."""
    for turn in range(20):
        command = [sys.executable, "-c", _WRITER, str(path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(REPOSITORY)})
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(2 + turn)]
        process.send_signal(signal.SIGKILL)
        told += process.communicate()[0].splitlines()
        durable = int(told[-1])
        files = [*sorted(path.parent.glob("audit-*.jsonl")), path]
        verdict = _check(*files)
        assert verdict.first == 1
        assert verdict.head.seq >= durable
    assert len(files) > 1, "one file was put aside"
    assert _open(path).head.seq >= durable


def test_a_torn_line_is_cut_off_and_the_chain_says_so(path: Path) -> None:
    file = _open(path)
    _append(file, "a", "b")
    file.close()
    whole = path.read_bytes()
    for cut in (1, 30, len(_lines(path)[1]) - 1):
        path.write_bytes(whole[: -len(_lines(path)[1])] + _lines(path)[1][:cut])
        assert _check(path).torn_bytes == cut
        file = _open(path)
        _append(file, "c")
        file.close()
        told = _entries(path)
        assert [entry["what"] for entry in told] == ["a", "torn-line-cut", "c"]
        assert told[1]["bytes"] == cut
        _check(path)
        path.write_bytes(whole)


def test_what_another_process_left_torn_is_cut_off_as_well(path: Path) -> None:
    file = _open(path)
    _append(file, "a")
    with path.open("ab") as other:
        other.write(b'{"seq":2,"prev')
    _append(file, "b")
    assert [entry["what"] for entry in _entries(path)] == ["a", "torn-line-cut", "b"]


def test_several_writers_make_one_chain(path: Path) -> None:
    files = [_open(path, max_bytes=4000) for _ in range(4)]

    def work(worker: int) -> None:
        for turn in range(15):
            _append(files[worker], f"{worker}-{turn}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    everything = [*sorted(path.parent.glob("audit-*.jsonl")), path]
    assert len(everything) > 2
    assert _check(*everything).num_entries == 60
    assert sorted(e["what"] for e in _entries(*everything)) == sorted(f"{w}-{t}" for w in range(4) for t in range(15))


def test_a_full_file_is_put_aside_and_its_chain_goes_on(path: Path) -> None:
    file = _open(path, max_bytes=1000)
    for number in range(12):
        _append(file, str(number))
    file.close()
    older = sorted(path.parent.glob("audit-*.jsonl"))
    assert [int(p.stem.rpartition("-")[2]) for p in older] == [_entries(p)[0]["seq"] for p in older]
    assert len(older) >= 2
    assert all(p.stat().st_size < 1500 for p in [*older, path])
    assert _check(*older, path).num_entries == 12
    assert _check(path).first == _entries(path)[0]["seq"] > 1
    # Killed between the two steps of putting aside.
    path.rename(path.with_name(f"audit-{_entries(path)[0]['seq']:012d}.jsonl"))
    file = _open(path)
    _append(file, "next")
    assert _entries(path)[0]["seq"] == 13
    file.close()
    # Or after both, with nothing written yet.
    path.write_bytes(b"")
    file = _open(path)
    _append(file, "next")
    assert _entries(path)[0]["seq"] == 13
    # What is archived is not missed.
    for p in path.parent.glob("audit-*.jsonl"):
        p.unlink()
    _append(file, "and on")
    file.close()
    again = _open(path)
    _append(again, "and on")
    assert _check(path).first == 13
    assert again.head.seq == 15


@pytest.mark.parametrize("change", ["byte", "line", "end"])
def test_a_log_that_was_changed_takes_no_more(path: Path, change: str) -> None:
    file = _open(path)
    _append(file, "a", "b", "c")
    lines = _lines(path)
    changed = {"byte": [lines[0].replace(b'"a"', b'"x"'), *lines[1:]], "line": [lines[0], lines[2]], "end": lines[:2]}
    path.write_bytes(b"".join(changed[change]))
    if change == "end":  # which only who wrote it can know
        with pytest.raises(AuditError, match="cut off"):
            _append(file, "d")
        return
    with pytest.raises(AuditError, match="move the file away"):
        _open(path)


def _replace_by(data: bytes) -> Callable[[Path], None]:
    def replace(path: Path) -> None:
        other = path.with_name("other")
        other.write_bytes(data)
        other.replace(path)

    return replace


def _cut(path: Path) -> None:
    path.write_bytes(b"".join(_lines(path)[:2]))


def _regrow(path: Path) -> None:
    """Emptied, and as long as before when it is looked at."""
    path.write_bytes(b"x" * path.stat().st_size)


def _restore_older(path: Path) -> None:
    _replace_by(b"".join(_lines(path)[:2]))(path)


def _forge_last(path: Path) -> None:
    *lines, _ = _lines(path)
    path.write_bytes(b"".join([*lines, to_line(Entry.now("x"), verify(lines).head)[0]]))


def _forge_next(path: Path) -> None:
    """A file that claims that others were archived meanwhile."""
    _replace_by(to_line(Entry.now("x"), Head(99, "1" * 64))[0])(path)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "removed": (Path.unlink, "removed or replaced"),
    "renamed": (lambda path: path.rename(path.with_name("audit.jsonl.1")), "removed or replaced"),
    "emptied": (lambda path: path.write_bytes(b""), "cut off"),
    "cut off": (_cut, "cut off"),
    "replaced by nothing": (_replace_by(b""), "removed or replaced"),
    "replaced by text": (_replace_by(b"something else\n"), "removed or replaced"),
    "replaced by an older copy": (_restore_older, "removed or replaced"),
    "replaced by a later part": (_forge_next, "removed or replaced"),
    "overwritten": (_regrow, "its last entry is another"),
    "its last entry forged": (_forge_last, "cut off|last entry"),
    "removed with its folder": (lambda path: shutil.rmtree(path.parent), "removed or replaced"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_under_a_running_service_is_noticed_and_recorded(path: Path, kind: str) -> None:
    damage, reason = DAMAGE[kind]
    file = _open(path)
    _append(file, "a", "b", "c" * 100)
    head = file.head
    damage(path)
    remains = path.read_bytes() if path.exists() else None
    for _ in range(2):  # and from then on
        with pytest.raises(AuditError, match=reason):
            _append(file, "d")
        with pytest.raises(AuditError, match="restart the service"):
            file.append(())
    (gap,) = _entries(path)
    assert (gap["what"], gap["seq"], gap["previous"]) == ("gap", head.seq + 1, head.sha256)
    assert re.search(reason, gap["reason"])
    if remains is not None:
        assert path.with_name(gap["moved_to"]).read_bytes() == remains
    assert list(path.parent.glob("*.jsonl")) == [path], "which is what cin audit verify checks"
    file.close()
    again = _open(path)
    _append(again, "e")
    assert [entry["what"] for entry in _entries(path)] == ["gap", "e"]
    assert _check(path).first == head.seq + 1


def test_a_gap_that_finds_no_room_is_recorded_later(path: Path) -> None:
    file = _open(path)
    _append(file, "a")
    path.write_bytes(b"")
    with _disk_with(50), pytest.raises(AuditWriteError, match="free disk space"):
        _append(file, "b")
    with pytest.raises(AuditError, match="cut off"):
        _append(file, "b")
    assert [entry["what"] for entry in _entries(path)] == ["gap"]


def test_several_writers_record_one_gap(path: Path) -> None:
    files = [_open(path) for _ in range(3)]
    for file in files:
        _append(file, "a")
        file.append(())
    for file in files:
        file.append(())
    path.write_bytes(b"")
    for file in files:
        with pytest.raises(AuditError, match="cut off"):
            _append(file, "b")
    assert [(entry["what"], entry["seq"]) for entry in _entries(path)] == [("gap", 4)]


def test_a_writer_that_begins_the_next_file_and_one_that_archives_leave_no_gap(path: Path) -> None:
    idle, busy = _open(path), _open(path, max_bytes=300)
    _append(idle, "a")
    for name in "bcdef":
        _append(busy, name * 100)
    assert len(list(path.parent.glob("audit-*.jsonl"))) > 1
    _append(idle, "g")
    _append(busy, "h")
    for older in path.parent.glob("audit-*.jsonl"):
        older.unlink()
    _append(idle, "i")
    assert [entry["what"] for entry in _entries(path)] == ["h", "i"]


def test_what_others_append_is_checked(path: Path) -> None:
    file = _open(path)
    _append(file, "a")
    with path.open("ab") as other:
        other.write(b'{"seq":2,"what":"forged"}\n')
    with pytest.raises(AuditError, match="not the log that was written"):
        _append(file, "b")


@contextmanager
def _disk_with(num_bytes: int) -> Iterator[None]:
    """No file may grow beyond: the system writes what still fits, and then fails, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_no_half_line(path: Path) -> None:
    file = _open(path)
    _append(file, "a")
    before = path.read_bytes()
    with _disk_with(len(before) + 100), pytest.raises(AuditWriteError, match="free disk space"):
        _append(file, "b", "c")
    assert path.read_bytes() == before
    _append(file, "d")
    assert [entry["what"] for entry in _entries(path)] == ["a", "d"]
    _check(path)


def test_refused_lines_that_cannot_be_taken_back_are_declared_void(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: int) -> None:
        raise OSError(5, "Input/output error")

    file, other = _open(path), _open(path)
    _append(file, "a")
    room = len(path.read_bytes()) + 600
    with monkeypatch.context() as patch:
        patch.setattr("service.audit.file.os.ftruncate", fail)
        with _disk_with(room), pytest.raises(AuditWriteError):
            _append(file, "b", "c", "d", "e")
    left = len([line for line in _lines(path) if line.endswith(b"\n")]) - 1
    assert left in (1, 2, 3), "lines of a batch that was refused as a whole"
    _append(other, "other")
    _append(file, "f")
    _append(file, "g")
    whats = [entry["what"] for entry in _entries(path)]
    assert whats == ["a", *"bcd"[:left], "torn-line-cut", "other", "entries-void", "f", "g"]
    (void,) = [entry["entries"] for entry in _entries(path) if entry["what"] == "entries-void"]
    assert void == list(range(2, 2 + left))
    _check(path)


def test_a_folder_that_cannot_be_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AuditWriteError, match="CIN_AUDIT"):
        _open(tmp_path / "file" / "audit.jsonl")
