"""Archives of odd names, interrupted in every way, are finished: every image once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import unquote

import pandas
import pytest

from service.bundle import Bundle
from service.cli.archive import find_pictures
from service.cli.results_file import ResultsFile
from service.cli.tables import JudgedBy
from tests.odd_archive import ODD_NAMES, write_odd_archive
from tests.paths import REPOSITORY
from tests.service.cli.conftest import cin
from tests.service.cli.results import rows_of
from tests.service.tiny_bundle import PREVALENCE, dark_square, picture_bytes

PROGRAM = [sys.executable, "-c", "from service.cli.__main__ import main; main()"]


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    write_odd_archive(tmp_path / "odd", len(ODD_NAMES))
    return tmp_path / "odd"


@pytest.fixture
def many(odd: Path) -> Path:
    """Enough for a second."""
    for i in range(300):
        (odd / f"{i:03}.png").write_bytes(picture_bytes(dark_square(start=i % 32)))
    return odd


def pictures_in(out: Path) -> list[str]:
    """The paths in the file; every row has an answer."""
    rows = rows_of(out)
    assert len(out.read_bytes().splitlines()) == len(rows) + (out.suffix == ".csv")
    assert all(row["diagnosis"] for row in rows)
    return [unquote(row["picture"], errors="surrogateescape") for row in rows]


def start(folder: Path, out: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*PROGRAM, "predict", str(folder), "--out", str(out)],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_odd_names(environment: dict[str, str], odd: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"results.{suffix}"
    for _ in range(2):
        result = cin("predict", odd, "--out", out, **environment)
        assert result.exit_code == 0, result.stderr
        assert sorted(pictures_in(out)) == sorted(map(str, find_pictures([odd]).pictures))
    read = pandas.read_csv(out) if suffix == "csv" else pandas.read_json(out, lines=True)
    assert len(read) == len(ODD_NAMES)
    assert not read["picture"].str.contains(r"^[=+@-]|[\x00-\x1f\x7f]", regex=True).any()


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_a_file_that_is_cut_off_anywhere(
    environment: dict[str, str], tiny_bundle: Bundle, odd: Path, tmp_path: Path, suffix: str
) -> None:
    """Its complete lines are kept."""
    out = tmp_path / f"results.{suffix}"
    assert cin("predict", odd, "--out", out, **environment).exit_code == 0
    whole = out.read_bytes()
    head = whole[: whole.index(b"\n") + 1] if suffix == "csv" else b""
    breaks = [i for i, byte in enumerate(whole) if byte == ord("\n")]
    cuts = {0, 1, 9, *random.Random(0).sample(range(len(whole)), 100)}
    cuts |= {i + distance for i in breaks for distance in (0, 1, 2, 3, 20)}  # around line breaks, and within names
    for cut in sorted(cuts):
        out.write_bytes(whole[:cut])
        judged_by = JudgedBy(tiny_bundle.sha256, "fp32", "balanced", "no limits", str(PREVALENCE["melanoma"]))
        with ResultsFile(out, tiny_bundle.manifest, judged_by):
            assert out.read_bytes() == (whole[: whole.rfind(b"\n", 0, cut) + 1] or head)


@pytest.mark.parametrize(
    ("suffix", "number"),
    [("csv", signal.SIGINT), ("csv", signal.SIGTERM), ("csv", signal.SIGKILL), ("jsonl", signal.SIGKILL)],
)
def test_interrupted_again_and_again(
    environment: dict[str, str], many: Path, tmp_path: Path, suffix: str, number: signal.Signals
) -> None:
    out, chance = tmp_path / f"results.{suffix}", random.Random(number)
    size = 0
    for _ in range(2):
        enough = size + chance.randrange(10_000, 30_000)
        process = start(many, out, environment)
        while process.poll() is None and (not out.exists() or out.stat().st_size < enough):
            time.sleep(0.002)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
        assert process.returncode == (130 if number == signal.SIGINT else -number), said
        assert b"Traceback" not in said
        assert b"to resume" in said or number != signal.SIGINT
        size = out.stat().st_size
    assert cin("predict", many, "--out", out, **environment).exit_code == 0
    assert pictures_in(out) == [str(path) for path in find_pictures([many]).pictures]
    assert {path.name for path in tmp_path.iterdir()} == {"odd", out.name}
