"""Files that ``cin predict --out`` leaves as they are: judged otherwise, damaged, or something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.bundle import Bundle
from service.cli.results_file import ResultsFile
from service.cli.tables import JudgedBy
from tests.service.cli.conftest import cin


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_answers_given_where_others_were_withheld_are_not_mixed_in(
    environment: dict[str, str], examining_bundle: Bundle, archive: Path, tmp_path: Path, suffix: str
) -> None:
    environment |= {"CIN_BUNDLE": str(examining_bundle.folder)}
    out = tmp_path / f"results.{suffix}"
    assert cin("predict", archive, "--out", out, **environment).exit_code == 0
    before = out.read_bytes()
    result = cin("predict", archive, "--out", out, **environment, CIN_ABSTAIN="caution")
    assert result.exit_code == 1
    assert "CIN_ABSTAIN" in result.stderr
    assert out.read_bytes() == before


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
@pytest.mark.parametrize(
    ("written", "other", "words"),
    [
        ("balanced", "another", "operating point (CIN_OPERATING_POINT) another, not balanced"),
        ("fp32", "int8", "variant (CIN_VARIANT) int8, not fp32"),
        ("{sha256}", "0" * 64, "model (CIN_BUNDLE) 0000000000000000, not {sha256:.16}"),
    ],
)
def test_answers_that_were_judged_otherwise_are_not_mixed_in(
    environment: dict[str, str],
    tiny_bundle: Bundle,
    archive: Path,
    tmp_path: Path,
    suffix: str,
    written: str,
    other: str,
    words: str,
) -> None:
    out = tmp_path / f"results.{suffix}"
    assert cin("predict", archive, "--out", out, **environment).exit_code == 0
    others = out.read_text().replace(written.format(sha256=tiny_bundle.sha256), other)
    out.write_text(others)
    result = cin("predict", archive, "--out", out, **environment)
    assert result.exit_code == 1
    assert words.format(sha256=tiny_bundle.sha256) in result.stderr
    assert out.read_text() == others


def test_a_row_with_other_cells_is_named_and_the_table_left_alone(
    environment: dict[str, str], archive: Path, tmp_path: Path
) -> None:
    out = tmp_path / "results.csv"
    assert cin("predict", archive, "--out", out, **environment).exit_code == 0
    with_a_blank_line = out.read_bytes() + b"\n"
    out.write_bytes(with_a_blank_line)
    result = cin("predict", archive, "--out", out, **environment)
    assert result.exit_code == 1
    assert "a row has 0 cells" in result.stderr
    assert out.read_bytes() == with_a_blank_line


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("results.txt", None, ".jsonl or .csv"),
        ("nowhere/results.csv", None, "does not exist"),
        ("a" * 248 + ".csv", None, "cannot be written: File name too long"),
        ("results.jsonl", "[1, 2]\n", "choose another --out"),
        ("results.jsonl", "my notes\n", "choose another --out"),
        ("results.jsonl", '{"picture": "a.jpg", "model": "mine"}\n', "choose another --out"),
        ("results.csv", "a,b\n1,2\n", "choose another --out"),
        ("results.csv", "my notes", "choose another --out"),
        ("results.jsonl", '{"a": 1}', "choose another --out"),
        ("results.csv", "x" * 200_000 + "\n", "choose another --out"),
        pytest.param("results.jsonl", '{"a": ' + "[" * 9_999 + "]" * 9_999 + "}\n", "nested too deeply", id="nested"),
    ],
)
def test_files_that_are_something_else_are_left_alone(
    environment: dict[str, str], archive: Path, tmp_path: Path, name: str, content: str | None, word: str
) -> None:
    out = tmp_path / name
    if content is not None:
        out.write_text(content)
    result = cin("predict", archive, "--out", out, **environment)
    assert result.exit_code == 1
    assert word in result.stderr
    assert (out.read_text() if out.exists() else None) == content


def test_a_table_with_semicolons_is_refused_by_what_it_is(
    environment: dict[str, str], archive: Path, tmp_path: Path
) -> None:
    out = tmp_path / "results.csv"
    assert cin("predict", archive, "--out", out, **environment).exit_code == 0
    out.write_text(out.read_text().replace(",", ";"))
    result = cin("predict", archive, "--out", out, **environment)
    assert result.exit_code == 1
    assert "its columns are picture;refer;" in result.stderr


@pytest.mark.parametrize(
    ("suffix", "written", "other"),
    [
        ("csv", "/0.png", "/0%00.png"),
        ("jsonl", "/0.png", "/0%00.png"),
        ("jsonl", "/0.png", "/0\\u0000.png"),
        ("jsonl", '"image": {', '"picture": {'),
    ],
)
def test_damaged_rows_are_refused(
    environment: dict[str, str], archive: Path, tmp_path: Path, suffix: str, written: str, other: str
) -> None:
    """Names that no file can have, answers without their pictures."""
    out = tmp_path / f"results.{suffix}"
    assert cin("predict", archive, "--out", out, **environment).exit_code == 0
    damaged = out.read_text().replace(written, other)
    out.write_text(damaged)
    result = cin("predict", archive, "--out", out, **environment)
    assert result.exit_code == 1
    assert "choose another --out" in result.stderr
    assert out.read_text() == damaged


def test_a_folder_in_place_of_the_file(environment: dict[str, str], archive: Path, tmp_path: Path) -> None:
    (tmp_path / "results.csv").mkdir()
    result = cin("predict", archive, "--out", tmp_path / "results.csv", **environment)
    assert result.exit_code == 1
    assert "results.csv is a folder" in result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"archive", "results.csv"}


def test_two_commands_do_not_write_one_file(
    environment: dict[str, str], tiny_bundle: Bundle, archive: Path, tmp_path: Path
) -> None:
    out = tmp_path / "results.csv"
    with ResultsFile(out, tiny_bundle.manifest, JudgedBy(tiny_bundle.sha256, "fp32", "balanced", "on", "0.2")):
        before = out.read_bytes()
        result = cin("predict", archive, "--out", out, **environment)
        assert result.exit_code == 1
        assert "another command writes to" in result.stderr
        assert out.read_bytes() == before
    assert cin("predict", archive, "--out", out, **environment).exit_code == 0
