"""Tampering with a ledger is found, by its own chain or by what the audit log knows of it."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.audit.chain import EMPTY, Entry, Head, to_line
from service.cli.main import app
from service.ledger.file import LedgerFile
from service.ledger.verification import verify as checks
from tests.service.ledger.ledgers import answer, bytes_in, feedback


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with an erasure, and an audit log that knows its entries."""
    folder = tmp_path_factory.mktemp("written")
    ledger = LedgerFile(folder / "ledger.sqlite")
    answers = [answer(f"L-{number}", risk=0.5) for number in range(3)]
    heads = [*map(ledger.append, answers), ledger.append(feedback(answers[0], histology="melanoma"))]
    gone = ledger.erase_lesion("clinic", "L-1")
    assert gone is not None
    ledger.close()
    lines, head = b"", EMPTY
    for known in (*heads, gone):
        line, head = to_line(Entry.now("prediction", ledger=str(known)), head)
        lines += line
    (folder / "audit.jsonl").write_bytes(lines)
    return folder


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """A copy to be tampered with."""
    return shutil.copytree(written, tmp_path / "copy")


def verify(folder: Path, *, with_log: bool = True) -> tuple[int, str]:
    files = [str(folder / "audit.jsonl")] if with_log else []
    done = CliRunner().invoke(app, ["audit", "verify", *files, "--ledger", str(folder / "ledger.sqlite")])
    return done.exit_code, done.output


def tamper(folder: Path, *statements: str) -> None:
    database = sqlite3.connect(folder / "ledger.sqlite")
    for statement in statements:
        database.execute(statement)
    database.commit()
    database.close()


def test_a_ledger_as_it_was_written(folder: Path) -> None:
    for with_log in (True, False):
        code, told = verify(folder, with_log=with_log)
        assert code == 0, told
        assert "2 answers, 1 times feedback, 1 entries erased, head 5:" in told


def test_a_line_that_a_crash_tore_is_no_tampering(folder: Path) -> None:
    with (folder / "audit.jsonl").open("ab") as log:
        log.write(b'{"seq":6,"ledger":"6:ab')
    code, told = verify(folder)
    assert code == 0, told
    assert "was not finished" in told


def test_a_service_that_answers_meanwhile_is_no_tampering(folder: Path) -> None:
    service, file = (LedgerFile(folder / "ledger.sqlite") for _ in range(2))

    def log_being_written() -> Iterator[Head]:
        for number in range(3):
            yield service.append(answer(f"L-{number}"))

    assert checks(file, log_being_written()).num_answers == 5
    for ledger in (service, file):
        ledger.close()


COPY = "UPDATE entries SET (salt, content) = (SELECT salt, content FROM entries WHERE seq = 1) WHERE seq = {}"
CONTENT = "UPDATE entries SET content = json_set(content, {}) WHERE seq = {}"
TAMPERED = {
    "a figure": CONTENT.format("'$.malignant_probability', 0.1", 1),
    "an opinion": CONTENT.format("'$.histology', 'nevus'", 4),
    "an owner": CONTENT.format("'$.client', 'other'", 1),
    "another's content": COPY.format(3),
    "no content": "UPDATE entries SET content = NULL, salt = NULL WHERE seq = 3",
    "no salt": "UPDATE entries SET salt = NULL WHERE seq = 3",
    "an erased content": COPY.format(2),
    "a removed entry": "DELETE FROM entries WHERE seq = 3",
    "a removed beginning": "DELETE FROM entries WHERE seq = 1",
    "a moved entry": "UPDATE entries SET seq = 9 WHERE seq = 5",
    "a changed line": "UPDATE entries SET line = replace(line, 'feedback', 'answer') WHERE seq = 4",
    "a removed index": "DROP INDEX entries_by_lesion",
    "a trigger": "CREATE TRIGGER quiet BEFORE INSERT ON entries BEGIN SELECT raise(IGNORE); END",
}


@pytest.mark.parametrize("statement", TAMPERED.values(), ids=TAMPERED)
def test_tampering_is_found_by_the_chain(folder: Path, statement: str) -> None:
    tamper(folder, statement)
    code, told = verify(folder, with_log=False)
    assert code == 1, told
    assert "ledger" in told


def test_a_ledger_that_lost_its_end_is_found_by_the_audit_log(folder: Path) -> None:
    tamper(folder, "DELETE FROM entries WHERE seq > 1")
    assert verify(folder, with_log=False)[0] == 0
    code, told = verify(folder)
    assert code == 1
    assert "the audit log knows another one" in told


def test_a_ledger_that_was_written_again_is_found_by_the_audit_log(folder: Path) -> None:
    for path in folder.glob("ledger*"):
        path.unlink()
    ledger = LedgerFile(folder / "ledger.sqlite")
    for _ in range(5):
        ledger.append(answer("L-1"))
    ledger.close()
    assert verify(folder, with_log=False)[0] == 0
    assert verify(folder)[0] == 1


def test_damaged_pages_are_found(folder: Path) -> None:
    path = folder / "ledger.sqlite"
    data = bytearray(path.read_bytes())
    at = data.index(b'"what":"feedback"')
    data[at : at + 400] = bytes(400)
    path.write_bytes(data)
    code, told = verify(folder, with_log=False)
    assert code == 1, told


def test_neither_log_nor_ledger_is_wrong_usage(tmp_path: Path) -> None:
    assert CliRunner().invoke(app, ["audit", "verify"]).exit_code == 2
    missing = CliRunner().invoke(app, ["audit", "verify", "--ledger", str(tmp_path / "none")])
    assert missing.exit_code == 1
    assert list(tmp_path.iterdir()) == []


def test_no_digest_of_an_erased_content_is_left_to_guess_it_by(folder: Path) -> None:
    rows = sqlite3.connect(folder / "ledger.sqlite").execute("SELECT line, salt FROM entries WHERE seq = 2").fetchall()
    ((line, salt),) = rows
    assert salt is None
    assert Head(2, json.loads(line)["sha256"]).tail() in f"{line}\n".encode()
    assert b"L-1" not in bytes_in(folder)


def test_what_another_program_appended_is_named(folder: Path) -> None:
    code, said = verify(folder)
    assert (code, "not in these logs" in said) == (0, False)
    ledger = LedgerFile(folder / "ledger.sqlite")
    given_up = ledger.append(answer("L-8"))
    ledger.withdraw(given_up)
    assert "not in these logs" not in verify(folder)[1], "nobody was told of it"
    appended = ledger.append(answer("L-9"))
    erasure = ledger.erase_lesion("clinic", "L-2")
    assert erasure is not None
    ledger.close()
    code, said = verify(folder)
    assert code == 0
    assert f"2 of its entries are not in these logs ({appended.seq}, {erasure.seq})" in said
    assert "not in these logs" not in verify(folder, with_log=False)[1]
