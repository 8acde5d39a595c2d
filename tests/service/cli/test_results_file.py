"""The file that ``cin predict --out`` writes and resumes."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from service.bundle import Bundle
from service.cli.archive import find_pictures
from service.cli.names import to_text
from service.cli.results_file import JudgedBy, ResultsFile
from tests.conftest import REPOSITORY
from tests.service.cli.conftest import cin
from tests.service.tiny_bundle import CLASSES, dark_square, picture_bytes


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def objects_in(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_folder_gives_the_answers_of_its_pictures(environment: dict[str, str], archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    result = cin("predict", archive, "--out", out, **environment)
    assert result.exit_code == 0, result.output
    assert "7 pictures in" in result.stderr
    pictures = [str(path) for path in find_pictures([archive]).pictures]
    assert len(pictures) == 7
    assert [answer["picture"] for answer in objects_in(out)] == pictures
    one_by_one = cin("predict", "--json", *pictures, **environment)
    assert [json.loads(line) for line in one_by_one.stdout.splitlines()] == objects_in(out)


def test_a_table_says_the_same(environment: dict[str, str], archive: Path, tmp_path: Path) -> None:
    for suffix in ("jsonl", "csv"):
        assert cin("predict", archive, "--out", tmp_path / f"results.{suffix}", **environment).exit_code == 0
    for answer, row in zip(objects_in(tmp_path / "results.jsonl"), rows_of(tmp_path / "results.csv"), strict=True):
        assert row["picture"] == answer["picture"]
        assert {name: float(row[name]) for name in CLASSES} == answer["probabilities"]
        decision, lesion, image = answer["decision"], answer["lesion"], answer["image"]
        assert isinstance(decision, dict)
        assert isinstance(lesion, dict)
        assert isinstance(image, dict)
        assert (row["refer"], row["reasons"].split()) == (str(decision["refer"]), decision["reasons"])
        assert [row[f"crop_{edge}"] for edge in ("x0", "y0", "x1", "y1")] == list(map(str, lesion["crop_box"].values()))
        assert row["sha256"] == image["sha256"]
        assert row["notes"] == " ".join(image["notes"])
        assert row["error"] == ""


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_what_failed_is_listed_and_tried_again(
    environment: dict[str, str], archive: Path, tmp_path: Path, suffix: str
) -> None:
    out, bad = tmp_path / f"results.{suffix}", archive / '3,"bad".png'
    whole = picture_bytes(dark_square())
    bad.write_bytes(whole[:300])
    first = cin("predict", archive, "--out", out, **environment)
    assert first.exit_code == 1
    assert f"{bad}: " in first.stderr
    assert "1 failed" in first.stderr
    rows = rows_of(out) if suffix == "csv" else objects_in(out)
    (failed,) = [row for row in rows if row.get("error")]
    assert failed["picture"] == str(bad)
    bad.write_bytes(whole)
    second = cin("predict", archive, "--out", out, **environment)
    assert second.exit_code == 0, second.output
    assert "7 of 8 pictures have an answer already" in second.stderr
    assert "1 pictures in" in second.stderr
    rows = rows_of(out) if suffix == "csv" else objects_in(out)
    assert sorted(str(row["picture"]) for row in rows) == sorted(map(str, find_pictures([archive]).pictures))
    assert not any(row.get("error") for row in rows)


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_a_half_written_line_is_taken_back(
    environment: dict[str, str], archive: Path, tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"results.{suffix}"
    assert cin("predict", archive, "--out", out, **environment).exit_code == 0
    whole = out.read_bytes()
    out.write_bytes(whole[:-20])
    again = cin("predict", archive, "--out", out, **environment)
    assert again.exit_code == 0, again.output
    assert "6 of 7 pictures have an answer already" in again.stderr
    assert out.read_bytes() == whole


def test_ctrl_c_loses_nothing(environment: dict[str, str], tmp_path: Path) -> None:
    folder, out = tmp_path / "archive", tmp_path / "results.jsonl"
    folder.mkdir()
    for i in range(300):
        (folder / f"{i:03}.png").write_bytes(picture_bytes(dark_square(start=i % 32)))
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from service.cli.main import main; main()"
    )
    command = [sys.executable, "-c", code, "predict", str(folder), "--out", str(out)]
    process = subprocess.Popen(command, cwd=REPOSITORY, env={**os.environ, **environment}, stderr=subprocess.PIPE)
    while process.poll() is None and (not out.exists() or out.stat().st_size < 5_000):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert b"to resume" in said
    done = [answer["picture"] for answer in objects_in(out)]
    assert 0 < len(done) < 300
    assert cin("predict", folder, "--out", out, **environment).exit_code == 0
    assert [answer["picture"] for answer in objects_in(out)] == [str(path) for path in find_pictures([folder]).pictures]


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


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("results.txt", None, ".jsonl or .csv"),
        ("nowhere/results.csv", None, "does not exist"),
        ("results.jsonl", "[1, 2]\n", "choose another --out"),
        ("results.jsonl", "my notes\n", "choose another --out"),
        ("results.jsonl", '{"picture": "a.jpg", "model": "mine"}\n', "choose another --out"),
        ("results.csv", "a,b\n1,2\n", "choose another --out"),
        ("results.csv", "my notes", "choose another --out"),
        ("results.jsonl", '{"a": 1}', "choose another --out"),
        ("results.csv", "x" * 200_000 + "\n", "choose another --out"),
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


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_files_that_spreadsheets_saved(environment: dict[str, str], archive: Path, tmp_path: Path, suffix: str) -> None:
    """With the mark of UTF-8 and other ends of lines; both are dropped."""
    out = tmp_path / f"results.{suffix}"
    assert cin("predict", archive, "--out", out, **environment).exit_code == 0
    before = out.read_bytes()
    for saved in (b"\xef\xbb\xbf" + before, b"\xef\xbb\xbf" + before.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf"):
        out.write_bytes(saved)
        result = cin("predict", archive, "--out", out, **environment)
        assert result.exit_code == 0, result.stderr
        assert ("7 of 7 pictures have an answer already" in result.stderr) == (len(saved) > 3)
        assert out.read_bytes() == before


def test_a_table_with_semicolons_is_refused_by_what_it_is(
    environment: dict[str, str], archive: Path, tmp_path: Path
) -> None:
    out = tmp_path / "results.csv"
    assert cin("predict", archive, "--out", out, **environment).exit_code == 0
    out.write_text(out.read_text().replace(",", ";"))
    result = cin("predict", archive, "--out", out, **environment)
    assert result.exit_code == 1
    assert "its columns are picture;diagnosis;" in result.stderr


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


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_names_in_files_of_earlier_versions(
    environment: dict[str, str], archive: Path, tmp_path: Path, suffix: str
) -> None:
    """Names were written as they are."""
    out, names = tmp_path / f"results.{suffix}", [b"caf\xe9.png", b"new\nline.png", b"scan%20001.png"]
    for name in names:
        (archive / os.fsdecode(name)).write_bytes((archive / "0.png").read_bytes())
    assert cin("predict", archive, "--out", out, **environment).exit_code == 0
    whole = out.read_bytes()
    for name in names:
        now, before = to_text(os.fsdecode(name)), os.fsdecode(name)
        if suffix == "jsonl":
            text = out.read_text().replace(json.dumps(now)[1:-1], json.dumps(before)[1:-1])
            out.write_text(text)
        else:
            quoted = os.fsencode(f'"{archive}/{before}"')
            out.write_bytes(out.read_bytes().replace(f"{archive}/{now}".encode(), quoted))
    assert out.read_bytes() != whole
    result = cin("predict", archive, "--out", out, **environment)
    assert result.exit_code == 0, result.stderr
    assert "10 of 10 pictures have an answer already" in result.stderr
    assert out.read_bytes() == whole


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
    with ResultsFile(out, tiny_bundle.manifest, JudgedBy(tiny_bundle.sha256, "fp32", "balanced", "on")):
        before = out.read_bytes()
        result = cin("predict", archive, "--out", out, **environment)
        assert result.exit_code == 1
        assert "another command writes to" in result.stderr
        assert out.read_bytes() == before
    assert cin("predict", archive, "--out", out, **environment).exit_code == 0


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_picture_has_one_answer_however_it_is_named(
    environment: dict[str, str], archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """In one command and in those that continue it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("archive")
    out = tmp_path / f"results.{suffix}"
    assert cin("predict", "archive/0.png", archive, "link", "--out", out.name, **environment).exit_code == 0
    before = out.read_bytes()
    rows = rows_of(out) if suffix == "csv" else objects_in(out)
    pictures = ["archive/0.png", *(str(path) for path in find_pictures([archive]).pictures if path.name != "0.png")]
    assert [row["picture"] for row in rows] == pictures
    for folder, named in ((archive, "."), (tmp_path, "link/../archive"), (archive / "below", "../../link")):
        monkeypatch.chdir(folder)
        result = cin("predict", named, "--out", os.path.relpath(out), **environment)
        assert result.exit_code == 0, result.stderr
        assert "7 of 7 pictures have an answer already" in result.stderr
        assert out.read_bytes() == before


def test_relative_names_are_the_pictures_of_one_folder_only(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One folder a day, each from within it."""
    for i, day in enumerate(("1", "2", "2")):
        (tmp_path / day).mkdir(exist_ok=True)
        (tmp_path / day / "IMG_1.png").write_bytes(picture_bytes(dark_square(start=4 * i)))
        monkeypatch.chdir(tmp_path / day)
        assert cin("predict", ".", "--out", "../results.csv", **environment).exit_code == 0
    assert [row["picture"] for row in rows_of(tmp_path / "results.csv")] == ["1/IMG_1.png", "2/IMG_1.png"]
    (tmp_path / "tables").mkdir()
    assert cin("predict", ".", "--out", "../tables/results.csv", **environment).exit_code == 0
    assert [row["picture"] for row in rows_of(tmp_path / "tables/results.csv")] == [str(tmp_path / "2/IMG_1.png")]


def test_a_link_leads_to_the_file(environment: dict[str, str], archive: Path, tmp_path: Path) -> None:
    link, out = tmp_path / "latest.csv", tmp_path / "results.csv"
    link.symlink_to(out)
    assert cin("predict", archive, "--out", link, **environment).exit_code == 0
    assert link.is_symlink()
    assert len(rows_of(out)) == 7
