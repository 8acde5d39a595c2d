"""The file that ``cin predict --out`` writes, on a disk that others use: permissions, other programs, no room."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.cli.archive import find_pictures
from service.cli.results_file import ResultsFile
from tests.paths import REPOSITORY
from tests.service.cli.conftest import cin
from tests.service.cli.results import rows_of

# No file may grow beyond the limit, which is how a full disk looks.
LIMITED = (
    "import os, resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    "resource.setrlimit(resource.RLIMIT_FSIZE, (int(os.environ['LIMIT']),) * 2); "
    "from service.cli.__main__ import main; main()"
)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_the_mode_of_the_file_is_kept(environment: dict[str, str], archive: Path, tmp_path: Path, mode: int) -> None:
    out = tmp_path / "results.csv"
    assert cin("predict", archive, "--out", out, **environment).exit_code == 0
    out.chmod(mode)
    assert cin("predict", archive, "--out", out, **environment).exit_code == 0
    assert stat.S_IMODE(out.stat().st_mode) == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_the_owner_of_the_file_is_kept(environment: dict[str, str], archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "results.csv"
    assert cin("predict", archive, "--out", out, **environment).exit_code == 0
    os.chown(out, 1234, 4321)
    assert cin("predict", archive, "--out", out, **environment).exit_code == 0
    assert (out.stat().st_uid, out.stat().st_gid) == (1234, 4321)


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
@pytest.mark.parametrize("complete", [0, 3, 7])
def test_zeros_that_a_loss_of_power_leaves_are_cut_off(
    environment: dict[str, str], archive: Path, tmp_path: Path, suffix: str, complete: int
) -> None:
    out = tmp_path / f"results.{suffix}"
    assert cin("predict", archive, "--out", out, **environment).exit_code == 0
    lines = out.read_bytes().splitlines(keepends=True)
    out.write_bytes(b"".join(lines[: complete + (suffix == "csv")] if complete else []) + bytes(512))
    result = cin("predict", archive, "--out", out, **environment)
    assert result.exit_code == 0, result.stderr
    assert sorted(out.read_bytes().splitlines(keepends=True)) == sorted(lines)


def test_a_read_only_file_is_left_alone(environment: dict[str, str], archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "results.csv"
    assert cin("predict", archive, "--out", out, **environment).exit_code == 0
    (archive / "0.png").rename(archive / "new.png")
    before = out.read_bytes()
    out.chmod(0o444)
    result = cin("predict", archive, "--out", out, **environment)
    assert result.exit_code == 1
    assert "is read-only" in result.stderr
    assert out.read_bytes() == before


def device_in(folder: Path) -> Path:
    """A device that root may lose; others cannot replace the real one."""
    if os.geteuid() != 0:
        return Path("/dev/full")
    os.mknod(folder / "full", 0o666 | stat.S_IFCHR, os.makedev(1, 7))
    return folder / "full"


@pytest.mark.parametrize("kind", ["pipe", "to a pipe", "to a device", "to itself"])
def test_what_is_no_regular_file_is_left_alone(
    environment: dict[str, str], archive: Path, tmp_path: Path, kind: str
) -> None:
    out, pipe = tmp_path / "results.csv", tmp_path / "pipe"
    os.mkfifo(out if kind == "pipe" else pipe)
    targets = {"to a pipe": pipe, "to a device": device_in(tmp_path), "to itself": out}
    if kind in targets:
        out.symlink_to(targets[kind])
    before = out.lstat()
    result = cin("predict", archive, "--out", out, **environment)
    assert result.exit_code == 1
    assert "results.csv is a pipe, a device or a loop of links" in result.stderr
    assert (out.lstat().st_ino, out.lstat().st_mode) == (before.st_ino, before.st_mode)
    assert stat.S_ISCHR(targets["to a device"].lstat().st_mode)


def spoil_after(monkeypatch: pytest.MonkeyPatch, num: int, spoil: Callable[[], object]) -> None:
    """Call ``spoil`` once ``num`` answers have been written."""
    really_add, added = ResultsFile.add, 0

    def add(file: ResultsFile, *outcome: Any) -> None:
        nonlocal added
        added += 1
        if added == num + 1:
            spoil()
        really_add(file, *outcome)

    monkeypatch.setattr(ResultsFile, "add", add)


@pytest.mark.parametrize("change", ["removed", "replaced", "emptied", "edited"])
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_file_that_others_change_is_noticed(
    environment: dict[str, str],
    archive: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    suffix: str,
    change: str,
) -> None:
    out, other = tmp_path / f"results.{suffix}", tmp_path / "other"
    spoil: dict[str, Callable[[], object]] = {
        "removed": out.unlink,
        "replaced": lambda: (other.write_bytes(out.read_bytes()), other.replace(out)),
        "emptied": lambda: os.truncate(out, 0),
        "edited": lambda: out.write_bytes(out.read_bytes()[:-9]),
    }
    with monkeypatch.context() as patch:
        spoil_after(patch, 3, spoil[change])
        result = cin("predict", archive, "--out", out, **environment)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].endswith("was removed or changed by another program; repeat the command")
    assert cin("predict", archive, "--out", out, **environment).exit_code == 0
    assert sorted(row["picture"] for row in rows_of(out)) == sorted(map(str, find_pictures([archive]).pictures))


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_full_disk(environment: dict[str, str], archive: Path, tmp_path: Path, suffix: str) -> None:
    """While answers are appended, and while the file is rewritten."""
    out = tmp_path / f"results.{suffix}"
    command = [sys.executable, "-c", LIMITED, "predict", str(archive), "--out", str(out)]
    for limit in (1_500, 100):
        process = subprocess.run(
            command,
            cwd=REPOSITORY,
            env={**os.environ, **environment, "LIMIT": str(limit)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert process.returncode == 1
        assert process.stderr.splitlines()[-1].startswith("cin: ")
        assert "File too large" in process.stderr.splitlines()[-1]
        assert out.stat().st_size == 1_500  # what was there is not lost
        assert {path.name for path in tmp_path.iterdir()} == {"archive", out.name}
    assert cin("predict", archive, "--out", out, **environment).exit_code == 0
    assert sorted(row["picture"] for row in rows_of(out)) == sorted(map(str, find_pictures([archive]).pictures))
