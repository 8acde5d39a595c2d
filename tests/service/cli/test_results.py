"""``cin results``: parts of an archive as one table, and whether they are one whole."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas
import pytest

from service.cli.archive import find_pictures
from tests.odd_archive import ODD_NAMES, write_odd_archive
from tests.paths import REPOSITORY
from tests.service.cli.conftest import cin
from tests.service.cli.results import rows_of

PROGRAM = [sys.executable, "-c", "from service.cli.__main__ import main; main()"]


def predict(archive: Path, out: Path, environment: dict[str, str], *options: str, code: int = 0) -> Path:
    result = cin("predict", archive, "--out", out, *options, **environment)
    assert result.exit_code == code, result.stderr
    return out


@pytest.fixture
def parts(environment: dict[str, str], archive: Path, tmp_path: Path) -> list[Path]:
    return [predict(archive, tmp_path / f"part-{i}.jsonl", environment, "--shard", f"{i}/3") for i in (1, 2, 3)]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_three_parts_one_killed_and_repeated_elsewhere_are_the_whole(
    environment: dict[str, str], tmp_path: Path, suffix: str
) -> None:
    archive, whole = tmp_path / "odd", tmp_path / f"whole.{suffix}"
    write_odd_archive(archive, 4 * len(ODD_NAMES))
    broken = archive / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff")
    predict(archive, whole, environment, code=1)
    killed = tmp_path / f"killed.{suffix}"
    process = subprocess.Popen(
        [*PROGRAM, "predict", str(archive), "--shard", "1/3", "--out", str(killed)],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None and (not killed.exists() or killed.stat().st_size < 5_000):
        time.sleep(0.002)
    process.kill()
    process.wait(60)
    os.truncate(killed, killed.stat().st_size * 2 // 3)  # as after a loss of power
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    parts = [killed]
    for i in (1, 2, 3):
        code = int(
            cin("predict", archive, "--shard", f"{i}/3", "--out", elsewhere / f"{i}.{suffix}", **environment).exit_code
        )
        assert code in (0, 1)
        parts.append(elsewhere / f"{i}.{suffix}")
    merged = tmp_path / f"merged.{suffix}"
    result = cin("results", "merge", *reversed(parts), "--out", merged)
    assert result.exit_code == 0, result.stderr
    assert merged.read_bytes() == whole.read_bytes()
    assert "answered several times alike" in result.stdout
    broken.unlink()
    predict(archive, merged, environment)
    assert len(rows_of(merged)) == 4 * len(ODD_NAMES)  # continued
    assert cin("results", "check", merged, "--archive", archive).exit_code == 0


def test_relative_names_stay_those_of_their_pictures(
    environment: dict[str, str], archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (archive / "tables").mkdir()
    whole = predict(Path("archive"), Path("whole.csv"), environment)
    parts = [
        predict(Path("archive"), Path("part-1.jsonl"), environment, "--shard", "1/2"),
        predict(Path(), Path("archive/tables/part-2.jsonl"), environment, "--shard", "1/1"),
    ]
    assert any(row["picture"].startswith("archive/") for row in rows_of(parts[0]))
    assert cin("results", "merge", *parts, "--out", "merged.csv").exit_code == 0
    assert {str(tmp_path / row["picture"]) for row in rows_of(Path("merged.csv"))} == {
        str(tmp_path / row["picture"]) for row in rows_of(whole)
    }


def test_parquet_says_the_same_with_types(environment: dict[str, str], archive: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
    (archive / "broken.png").write_bytes(b"\x89PNG")
    out = predict(archive, tmp_path / "results.parquet", environment, code=1)
    (archive / "8.png").write_bytes((archive / "0.png").read_bytes())
    assert len(pandas.read_parquet(predict(archive, out, environment, code=1))) == 9
    table = predict(archive, tmp_path / "results.csv", environment, code=1)
    assert cin("results", "merge", table, "--out", tmp_path / "from-csv.parquet").exit_code == 0
    read = pandas.read_parquet(out)
    pandas.testing.assert_frame_equal(read, pandas.read_parquet(tmp_path / "from-csv.parquet"))
    expected = {row["picture"]: row for row in rows_of(tmp_path / "results.jsonl")}
    assert read["picture"].tolist() == [str(path) for path in find_pictures([archive]).pictures]
    for _, row in read.iterrows():
        if row["error"] is not None:
            assert row["error"] == expected[row["picture"]]["error"]
            continue
        answer = expected[row["picture"]]
        assert row["refer"] is answer["decision"]["refer"]
        assert row["melanoma"] == answer["probabilities"]["melanoma"]
        assert row["width"] == answer["image"]["width"]
        assert row["sha256"] == answer["image"]["sha256"]


def changed(path: Path, number: int, **fields: object) -> Path:
    """A copy in which one answer's decision is changed."""
    rows = rows_of(path)
    rows[number]["decision"].update(fields)
    other = path.with_name(f"changed-{path.name}")
    other.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return other


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"operating_point": "sensitive"},
            "1 answers of operating point (CIN_OPERATING_POINT) sensitive, not balanced",
        ),
        ({"abstains": "off"}, "1 answers of CIN_ABSTAIN off, not no limits"),
        ({"malignant_probability": 0.123}, "answered 2 times, otherwise"),
    ],
)
def test_what_does_not_fit_is_said_and_not_merged(parts: list[Path], fields: dict[str, object], words: str) -> None:
    files, out = (
        [*parts, changed(max(parts, key=lambda path: path.stat().st_size), 0, **fields)],
        parts[0].with_name("all.csv"),
    )
    result = cin("results", "check", *files)
    assert result.exit_code == 1
    assert words in result.stderr
    result = cin("results", "merge", *files, "--out", out)
    assert result.exit_code == 1
    assert words in result.stderr
    assert not out.exists()


def test_what_is_missing_is_said(parts: list[Path], archive: Path) -> None:
    assert cin("results", "check", *parts, "--archive", archive).exit_code == 0
    assert cin("results", "check", *parts, parts[0]).exit_code == int(parts[0].stat().st_size > 0)
    largest = max(parts, key=lambda path: path.stat().st_size)
    lost = [row["picture"] for row in rows_of(largest)]
    others = [path for path in parts if path != largest]
    assert cin("results", "check", *others).exit_code == 0
    result = cin("results", "check", *others, "--archive", archive)
    assert result.exit_code == 1
    assert all(f"{name}: no answer" in result.stderr for name in lost)
    assert f"{len(lost)} without an answer" in result.stderr
    failed = largest.with_name("failed.jsonl")
    failed.write_text(json.dumps({"picture": lost[0], "error": "truncated"}) + "\n")
    assert f"{lost[0]}: no answer" in cin("results", "check", failed).stderr
    out = largest.with_name("all.jsonl")
    assert cin("results", "merge", failed, *parts, "--out", out).exit_code == 0
    assert not any(row.get("error") for row in rows_of(out))


def test_what_is_no_results_file_or_new_file_is_refused(parts: list[Path], tmp_path: Path) -> None:
    (tmp_path / "notes.jsonl").write_text('{"a": 1}\n')
    (tmp_path / "notes.csv").write_text("a,b\n1,2\n")
    shutil.copy(parts[0], tmp_path / "existing.jsonl")
    assert cin("results", "merge", *parts, "--out", tmp_path / "all.csv").exit_code == 0
    for files, out, words in (
        ([tmp_path / "notes.jsonl"], "x.csv", "is not a file of results"),
        ([tmp_path / "notes.csv"], "x.csv", "is not a file of results"),
        ([tmp_path / "nowhere.csv"], "x.csv", "No such file"),
        (parts, "existing.jsonl", "exists"),
        (parts, "x.xlsx", ".jsonl, .csv or .parquet"),
        ([tmp_path / "all.csv"], "x.jsonl", "a CSV does not hold all"),
        (parts, "nowhere/x.csv", "does not exist"),
    ):
        before = {path.name for path in tmp_path.iterdir()}
        result = cin("results", "merge", *files, "--out", tmp_path / out)
        assert result.exit_code == 1, out
        assert words in result.stderr
        assert {path.name for path in tmp_path.iterdir()} == before
