"""Audit logs that were damaged: noticed, moved aside, and followed by a gap."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from service.audit.chain import Entry, Head, to_line, verify
from service.audit.file import AuditError, AuditFile, AuditWriteError
from tests.service.audit.logs import append, check, disk_with, entries_of, lines_of


@pytest.mark.parametrize("change", ["byte", "line", "end"])
def test_a_log_that_was_changed_takes_no_more(path: Path, change: str) -> None:
    file = AuditFile(path)
    append(file, "a", "b", "c")
    lines = lines_of(path)
    changed = {"byte": [lines[0].replace(b'"a"', b'"x"'), *lines[1:]], "line": [lines[0], lines[2]], "end": lines[:2]}
    path.write_bytes(b"".join(changed[change]))
    if change == "end":  # which only who wrote it can know
        with pytest.raises(AuditError, match="cut off"):
            append(file, "d")
        return
    with pytest.raises(AuditError, match="move the file away"):
        AuditFile(path)


def _replace_by(data: bytes) -> Callable[[Path], None]:
    def replace(path: Path) -> None:
        other = path.with_name("other")
        other.write_bytes(data)
        other.replace(path)

    return replace


def _cut(path: Path) -> None:
    path.write_bytes(b"".join(lines_of(path)[:2]))


def _regrow(path: Path) -> None:
    """Emptied, and as long as before when it is looked at."""
    path.write_bytes(b"x" * path.stat().st_size)


def _restore_older(path: Path) -> None:
    _replace_by(b"".join(lines_of(path)[:2]))(path)


def _forge_last(path: Path) -> None:
    *lines, _ = lines_of(path)
    path.write_bytes(b"".join([*lines, to_line(Entry.now("x"), verify(lines).head)[0]]))


def _forge_next(path: Path) -> None:
    """A file that claims that others were archived meanwhile."""
    _replace_by(to_line(Entry.now("x"), Head(99, "1" * 64))[0])(path)


def _replaced_with(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def replace(path: Path) -> None:
        path.unlink()
        make(path)

    return replace


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
    "replaced by a pipe": (_replaced_with(os.mkfifo), "removed or replaced"),
    "replaced by a folder": (_replaced_with(Path.mkdir), "removed or replaced"),
    "replaced by a device": (_replaced_with(lambda path: path.symlink_to("/dev/zero")), "removed or replaced"),
    "removed with its folder": (lambda path: shutil.rmtree(path.parent), "removed or replaced"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_under_a_running_service_is_noticed_and_recorded(path: Path, kind: str) -> None:
    damage, reason = DAMAGE[kind]
    file = AuditFile(path)
    append(file, "a", "b", "c" * 100)
    head = file.head
    damage(path)
    remains = path.read_bytes() if path.is_file() else None
    for _ in range(2):  # and from then on
        with pytest.raises(AuditError, match=reason):
            append(file, "d")
        with pytest.raises(AuditError, match="restart the service"):
            file.append(())
    (gap,) = entries_of(path)
    assert (gap["what"], gap["seq"], gap["previous"]) == ("gap", head.seq + 1, head.sha256)
    assert re.search(reason, gap["reason"])
    if remains is not None:
        assert path.with_name(gap["moved_to"]).read_bytes() == remains
    assert list(path.parent.glob("*.jsonl")) == [path], "which is what cin audit verify checks"
    file.close()
    again = AuditFile(path)
    append(again, "e")
    assert [entry["what"] for entry in entries_of(path)] == ["gap", "e"]
    assert check(path).first == head.seq + 1


def test_a_gap_that_finds_no_room_is_recorded_later(path: Path) -> None:
    file = AuditFile(path)
    append(file, "a")
    path.write_bytes(b"")
    with disk_with(50), pytest.raises(AuditWriteError, match="free disk space"):
        append(file, "b")
    with pytest.raises(AuditError, match="cut off"):
        append(file, "b")
    assert [entry["what"] for entry in entries_of(path)] == ["gap"]


def test_several_writers_record_one_gap(path: Path) -> None:
    files = [AuditFile(path) for _ in range(3)]
    for file in files:
        append(file, "a")
        file.append(())
    for file in files:
        file.append(())
    path.write_bytes(b"")
    for file in files:
        with pytest.raises(AuditError, match="cut off"):
            append(file, "b")
    assert [(entry["what"], entry["seq"]) for entry in entries_of(path)] == [("gap", 4)]


@pytest.mark.parametrize("first", ["h", "h" * 2**21], ids=["short", "as the one that names very many keys"])
def test_a_writer_that_begins_the_next_file_and_one_that_archives_leave_no_gap(path: Path, first: str) -> None:
    idle, busy = AuditFile(path), AuditFile(path, max_bytes=300)
    append(idle, "a")
    for name in "bcdef":
        append(busy, name * 100)
    assert len(list(path.parent.glob("audit-*.jsonl"))) > 1
    append(idle, "g")
    append(busy, first)
    for older in path.parent.glob("audit-*.jsonl"):
        older.unlink()
    append(idle, "i")
    assert [entry["what"] for entry in entries_of(path)] == [first, "i"]


def test_what_others_append_is_checked(path: Path) -> None:
    file = AuditFile(path)
    append(file, "a")
    with path.open("ab") as other:
        other.write(b'{"seq":2,"what":"forged"}\n')
    with pytest.raises(AuditError, match="not the log that was written"):
        append(file, "b")
