"""The ledger on a real disk: durable, erasable, of one owner, and not to be mistaken for another file."""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from service.ledger import file
from service.ledger.entries import Answer
from service.ledger.file import LedgerError, LedgerFile, LedgerFull, NoSuchAnswer
from tests.service.ledger.ledgers import answer, bytes_in, checked, feedback, fill


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "ledger.sqlite"


def test_entries_are_read_as_they_were_written(path: Path) -> None:
    ledger = LedgerFile(path)
    first, second, other = answer("L-1"), answer("L-1"), answer("L-1", client="other")
    said = feedback(second, opinion="disagree", histology="melanoma")
    heads = [ledger.append(entry) for entry in (first, second, other, said)]
    assert [head.seq for head in heads] == [1, 2, 3, 4]
    assert ledger.of_lesion("clinic", "L-1") == [first, second, said]
    assert ledger.of_lesion("other", "L-1") == [other]
    assert ledger.of_lesion("clinic", "L-2") == []
    assert ledger.of_prediction("clinic", second.id) == [second, said]
    assert ledger.of_prediction("other", second.id) == []
    assert ledger.of_client("clinic") == [first, second, said]
    assert ledger.everything() == [first, second, other, said]
    ledger.close()
    again = LedgerFile(path)
    assert again.everything() == [first, second, other, said]
    again.close()


def test_only_its_owner_reads_it(path: Path) -> None:
    ledger = LedgerFile(path)
    ledger.append(answer())
    assert {stat.S_IMODE(each.stat().st_mode) & 0o077 for each in (path.parent, *path.parent.iterdir())} == {0}
    ledger.close()


def test_two_processes_share_a_ledger(path: Path) -> None:
    one, two = LedgerFile(path), LedgerFile(path)
    entries = [answer() for _ in range(6)]
    for number, entry in enumerate(entries):
        (one if number % 2 else two).append(entry)
    assert one.everything() == two.everything() == entries
    for ledger in (one, two):
        ledger.close()
    assert checked(path).num_answers == 6


def test_what_is_erased_is_in_no_file(path: Path) -> None:
    ledger = LedgerFile(path)
    kept, gone = answer("Keep-1"), [answer("Gone-1") for _ in range(50)]
    for entry in (kept, *gone):
        ledger.append(entry)
    ledger.append(feedback(gone[0], histology="melanoma"))
    assert b"Gone-1" in bytes_in(path.parent)
    head = ledger.erase_lesion("clinic", "Gone-1")
    assert head is not None
    assert head.seq == 53
    assert ledger.everything() == [kept]
    assert ledger.erase_lesion("clinic", "Gone-1") is None
    found = bytes_in(path.parent)
    assert b"Keep-1" in found
    assert b"Gone-1" not in found
    assert gone[0].id.encode() not in found
    ledger.close()
    verdict = checked(path)
    assert (verdict.num_answers, verdict.num_feedback, verdict.num_erased) == (1, 0, 51)


def test_what_was_erased_while_another_reads_is_overwritten_at_the_next_check(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file, "_BUSY_SECONDS", 0.01)
    ledger, gone = LedgerFile(path), answer("Gone-1")
    ledger.append(gone)
    ledger.check()  # from the write-ahead log into the file
    with closing(sqlite3.connect(path, isolation_level=None)) as backup:
        backup.execute("BEGIN")
        backup.execute("SELECT count(*) FROM entries").fetchall()
        assert ledger.erase_lesion("clinic", "Gone-1") is not None
        ledger.check()
        assert b"Gone-1" in bytes_in(path.parent)  # which the other still sees
    ledger.check()
    assert b"Gone-1" not in bytes_in(path.parent)
    ledger.close()


def test_feedback_on_an_erased_answer_is_refused(path: Path) -> None:
    ledger = LedgerFile(path)
    gone = answer("L-1")
    ledger.append(gone)
    ledger.erase_lesion("clinic", "L-1")
    with pytest.raises(NoSuchAnswer):
        ledger.append(feedback(gone, opinion="agree"))
    ledger.close()
    assert checked(path).num_feedback == 0


def test_nobody_erases_anothers(path: Path) -> None:
    ledger = LedgerFile(path)
    mine = answer("L-1")
    head = ledger.append(mine)
    assert ledger.erase("other", id=mine.id) is None
    assert ledger.erase_lesion("other", "L-1") is None
    assert ledger.everything() == [mine]
    assert ledger.withdraw(head) is not None
    assert ledger.everything() == []
    ledger.close()


def refusals(ledger: LedgerFile, kept: list[Answer], *, num: int) -> int:
    """Try to append entries, and note those that were taken."""
    refused = 0
    for entry in [answer("L-1") for _ in range(num)]:
        try:
            ledger.append(entry)
            kept.append(entry)
        except LedgerFull:
            refused += 1
    return refused


@pytest.mark.integration
def test_a_full_disk_refuses_and_loses_nothing(small_disk: Path) -> None:
    ledger, filler = LedgerFile(small_disk / "ledger.sqlite"), small_disk / "filler"
    kept = [answer("L-1") for _ in range(5)]
    for entry in kept:
        ledger.append(entry)
    fill(filler)
    assert refusals(ledger, kept, num=100) > 50  # its own files may have some room still
    assert ledger.everything() == kept
    filler.unlink()
    ledger.append(answer())
    ledger.close()
    assert checked(small_disk / "ledger.sqlite").num_answers == len(kept) + 1


@pytest.mark.parametrize("content", [b"not a database, but long enough to be taken for one" * 100, b"x"])
def test_another_file_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(LedgerError):
        LedgerFile(path)
    assert path.read_bytes() == content


def test_another_database_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE entries (name TEXT)")
    database.execute("INSERT INTO entries VALUES ('mine')")
    database.commit()
    database.close()
    before = path.read_bytes()
    with pytest.raises(LedgerError, match="CIN_LEDGER"):
        LedgerFile(path)
    assert path.read_bytes() == before


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="CIN_LEDGER"):
        LedgerFile(tmp_path)


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_a_file_that_is_no_longer_there_takes_no_entry(path: Path, how: str) -> None:
    ledger = LedgerFile(path)
    ledger.append(answer())
    path.unlink()
    if how == "replaced":
        path.write_bytes(b"")
    for call in (lambda: ledger.append(answer()), ledger.everything, ledger.check):
        with pytest.raises(LedgerError, match="removed or replaced"):
            call()
    ledger.close()


def test_a_chain_that_lost_its_end_takes_no_entry(path: Path) -> None:
    ledger = LedgerFile(path)
    for _ in range(3):
        ledger.append(answer())
    database = sqlite3.connect(path)
    database.execute("DELETE FROM entries WHERE seq = 3")
    database.commit()
    database.close()
    with pytest.raises(LedgerError, match="not the ledger that was written"):
        ledger.append(answer())
    ledger.close()


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LedgerError, match="CIN_LEDGER"):
        LedgerFile(tmp_path / "pipe")
