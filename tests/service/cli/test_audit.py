"""``cin audit``: heads, and the first line that was changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from service.audit.chain import Entry
from service.audit.file import AuditFile
from service.cli.main import app


def _three_entries(path: Path) -> list[bytes]:
    file = AuditFile(path, max_bytes=2**20)
    file.append([Entry.now(name) for name in ("a", "b", "c")])
    file.close()
    return path.read_bytes().splitlines(keepends=True)


def _cin(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["audit", *arguments])


def test_verify_on_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    lines = _three_entries(path)
    head = _cin("head", str(path)).stdout.strip()
    good = _cin("verify", str(path), "--head", head)
    assert (good.exit_code, good.stderr) == (0, "")
    assert good.stdout == f"3 entries, from 1 to 3, head {head}\n"
    path.write_bytes(b"".join(lines[:2]))
    cut = _cin("verify", str(path), "--head", head)
    assert cut.exit_code == 1
    assert "its end was cut off" in cut.stderr
    path.write_bytes(b"".join([*lines[:2], lines[2][:40]]))
    torn = _cin("verify", str(path))
    assert torn.exit_code == 0
    assert "40 bytes of a line that was not finished" in torn.stderr


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_verify_names_the_first_bad_line(tmp_path: Path, bad: int) -> None:
    path, rest = tmp_path / "audit.jsonl", tmp_path / "rest.jsonl"
    lines = _three_entries(path)
    lines[bad] = lines[bad].replace(b'"what":"', b'"what":"x')
    path.write_bytes(b"".join(lines[:2]))
    rest.write_bytes(lines[2])
    told = _cin("verify", str(path), str(rest))
    assert (told.exit_code, told.stdout) == (1, "")
    name, line = (path, bad + 1) if bad < 2 else (rest, 1)
    assert told.stderr == f"cin: {name}, line {line}: changed since it was written: its digest is another\n"


def test_an_export_says_its_form(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    _three_entries(path)
    refused = _cin("export", str(path))
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "--fhir" in refused.stderr
