"""The file that ``cin predict --out`` writes and resumes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from service.cli.archive import find_pictures
from service.cli.names import to_text
from tests.service.cli.conftest import cin
from tests.service.cli.results import rows_of
from tests.service.tiny_bundle import CLASSES, dark_square, picture_bytes


def test_a_folder_gives_the_answers_of_its_pictures(environment: dict[str, str], archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    result = cin("predict", archive, "--out", out, **environment)
    assert result.exit_code == 0, result.output
    assert "7 images in" in result.stderr
    pictures = [str(path) for path in find_pictures([archive]).pictures]
    assert len(pictures) == 7
    assert [answer["picture"] for answer in rows_of(out)] == pictures
    one_by_one = cin("predict", "--json", *pictures, **environment)
    assert [json.loads(line) for line in one_by_one.stdout.splitlines()] == rows_of(out)


def test_a_table_says_the_same(environment: dict[str, str], archive: Path, tmp_path: Path) -> None:
    for suffix in ("jsonl", "csv"):
        assert cin("predict", archive, "--out", tmp_path / f"results.{suffix}", **environment).exit_code == 0
    for answer, row in zip(rows_of(tmp_path / "results.jsonl"), rows_of(tmp_path / "results.csv"), strict=True):
        assert row["picture"] == answer["picture"]
        assert {name: float(row[name]) for name in CLASSES} == answer["probabilities"]
        decision, lesion, image = answer["decision"], answer["lesion"], answer["image"]
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
    rows = rows_of(out)
    (failed,) = [row for row in rows if row.get("error")]
    assert failed["picture"] == str(bad)
    bad.write_bytes(whole)
    second = cin("predict", archive, "--out", out, **environment)
    assert second.exit_code == 0, second.output
    assert "7 of 8 images have an answer already" in second.stderr
    assert "1 images in" in second.stderr
    rows = rows_of(out)
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
    assert "6 of 7 images have an answer already" in again.stderr
    assert out.read_bytes() == whole


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
        assert ("7 of 7 images have an answer already" in result.stderr) == (len(saved) > 3)
        assert out.read_bytes() == before


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
    assert "10 of 10 images have an answer already" in result.stderr
    assert out.read_bytes() == whole


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
    rows = rows_of(out)
    pictures = ["archive/0.png", *(str(path) for path in find_pictures([archive]).pictures if path.name != "0.png")]
    assert [row["picture"] for row in rows] == pictures
    for folder, named in ((archive, "."), (tmp_path, "link/../archive"), (archive / "below", "../../link")):
        monkeypatch.chdir(folder)
        result = cin("predict", named, "--out", os.path.relpath(out), **environment)
        assert result.exit_code == 0, result.stderr
        assert "7 of 7 images have an answer already" in result.stderr
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
