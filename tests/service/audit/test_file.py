"""The audit log on a real disk: killed, torn, full, shared, put aside."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.audit.file import AuditFile, AuditWriteError
from tests.paths import REPOSITORY
from tests.service.audit.logs import append, check, disk_with, entries_of, lines_of


def test_it_goes_on_where_it_ended(path: Path) -> None:
    for name in ("a", "b"):
        file = AuditFile(path)
        append(file, name, name.upper())
        file.close()
    assert [entry["what"] for entry in entries_of(path)] == ["a", "A", "b", "B"]
    assert check(path).head == AuditFile(path).head
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
        verdict = check(*files)
        assert verdict.first == 1
        assert verdict.head.seq >= durable
    assert len(files) > 1, "one file was put aside"
    assert AuditFile(path).head.seq >= durable


def test_a_torn_line_is_cut_off_and_the_chain_says_so(path: Path) -> None:
    file = AuditFile(path)
    append(file, "a", "b")
    file.close()
    whole = path.read_bytes()
    for cut in (1, 30, len(lines_of(path)[1]) - 1):
        path.write_bytes(whole[: -len(lines_of(path)[1])] + lines_of(path)[1][:cut])
        assert check(path).torn_bytes == cut
        file = AuditFile(path)
        append(file, "c")
        file.close()
        told = entries_of(path)
        assert [entry["what"] for entry in told] == ["a", "torn-line-cut", "c"]
        assert told[1]["bytes"] == cut
        check(path)
        path.write_bytes(whole)


def test_what_another_process_left_torn_is_cut_off_as_well(path: Path) -> None:
    file = AuditFile(path)
    append(file, "a")
    with path.open("ab") as other:
        other.write(b'{"seq":2,"prev')
    append(file, "b")
    assert [entry["what"] for entry in entries_of(path)] == ["a", "torn-line-cut", "b"]


def test_several_writers_make_one_chain(path: Path) -> None:
    files = [AuditFile(path, max_bytes=4000) for _ in range(4)]

    def work(worker: int) -> None:
        for turn in range(15):
            append(files[worker], f"{worker}-{turn}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    everything = [*sorted(path.parent.glob("audit-*.jsonl")), path]
    assert len(everything) > 2
    assert check(*everything).num_entries == 60
    assert sorted(e["what"] for e in entries_of(*everything)) == sorted(f"{w}-{t}" for w in range(4) for t in range(15))


def test_a_full_file_is_put_aside_and_its_chain_goes_on(path: Path) -> None:
    file = AuditFile(path, max_bytes=1000)
    for number in range(12):
        append(file, str(number))
    file.close()
    older = sorted(path.parent.glob("audit-*.jsonl"))
    assert [int(p.stem.rpartition("-")[2]) for p in older] == [entries_of(p)[0]["seq"] for p in older]
    assert len(older) >= 2
    assert all(p.stat().st_size < 1500 for p in [*older, path])
    assert check(*older, path).num_entries == 12
    assert check(path).first == entries_of(path)[0]["seq"] > 1
    # Killed between the two steps of putting aside.
    path.rename(path.with_name(f"audit-{entries_of(path)[0]['seq']:012d}.jsonl"))
    file = AuditFile(path)
    append(file, "next")
    assert entries_of(path)[0]["seq"] == 13
    file.close()
    # Or after both, with nothing written yet.
    path.write_bytes(b"")
    file = AuditFile(path)
    append(file, "next")
    assert entries_of(path)[0]["seq"] == 13
    # What is archived is not missed.
    for p in path.parent.glob("audit-*.jsonl"):
        p.unlink()
    append(file, "and on")
    file.close()
    again = AuditFile(path)
    append(again, "and on")
    assert check(path).first == 13
    assert again.head.seq == 15


def test_a_full_disk_leaves_no_half_line(path: Path) -> None:
    file = AuditFile(path)
    append(file, "a")
    before = path.read_bytes()
    with disk_with(len(before) + 100), pytest.raises(AuditWriteError, match="free disk space"):
        append(file, "b", "c")
    assert path.read_bytes() == before
    append(file, "d")
    assert [entry["what"] for entry in entries_of(path)] == ["a", "d"]
    check(path)


def test_refused_lines_that_cannot_be_taken_back_are_declared_void(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: int) -> None:
        raise OSError(5, "Input/output error")

    file, other = AuditFile(path), AuditFile(path)
    append(file, "a")
    room = len(path.read_bytes()) + 600
    with monkeypatch.context() as patch:
        patch.setattr("service.audit.file.os.ftruncate", fail)
        with disk_with(room), pytest.raises(AuditWriteError):
            append(file, "b", "c", "d", "e")
    left = len([line for line in lines_of(path) if line.endswith(b"\n")]) - 1
    assert left in (1, 2, 3), "lines of a batch that was refused as a whole"
    append(other, "other")
    append(file, "f")
    append(file, "g")
    whats = [entry["what"] for entry in entries_of(path)]
    assert whats == ["a", *"bcd"[:left], "torn-line-cut", "other", "entries-void", "f", "g"]
    (void,) = [entry["entries"] for entry in entries_of(path) if entry["what"] == "entries-void"]
    assert void == list(range(2, 2 + left))
    check(path)


def test_a_folder_that_cannot_be_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AuditWriteError, match="CIN_AUDIT"):
        AuditFile(tmp_path / "file" / "audit.jsonl")
