"""Regular files: read up to a limit, and written whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from service.cli.files import NotARegularFile, read_file, replace_file
from service.imaging import PictureTooLarge


def test_a_file_over_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse.tif"
    path.touch()
    os.truncate(path, 2**36)
    with pytest.raises(PictureTooLarge, match="68,719,476,736"):
        read_file(path, 1000)


@pytest.mark.parametrize("size", [0, 999, 1000])
def test_a_file_up_to_the_limit_is_read(tmp_path: Path, size: int) -> None:
    (tmp_path / "full.jpg").write_bytes(bytes(size))
    assert read_file(tmp_path / "full.jpg", 1000) == bytes(size)


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path / "pipe.jpg", Path("/dev/zero"), Path("/dev/null")):
        with pytest.raises(NotARegularFile):
            read_file(path, 1000)


def test_only_regular_files_are_replaced(tmp_path: Path) -> None:
    pipe, target = tmp_path / "pipe", tmp_path / "target"
    os.mkfifo(pipe)
    target.write_bytes(b"old")
    links = {"file": target, "pipe-link": pipe, "device": Path("/dev/null"), "nothing": tmp_path / "nowhere"}
    for name, to in links.items():
        (tmp_path / name).symlink_to(to)
    for path in (pipe, *(tmp_path / name for name in links)):
        with pytest.raises(NotARegularFile):
            replace_file(path, b"new")
    assert stat.S_ISFIFO(pipe.lstat().st_mode)
    assert target.read_bytes() == b"old"
    assert {path.name for path in tmp_path.iterdir()} == {"pipe", "target", *links}


def test_a_replaced_file_is_as_old_as_its_bytes(tmp_path: Path) -> None:
    """Otherwise a backup would leave it out."""
    path = tmp_path / "results.csv"
    path.touch()
    os.utime(path, (1, 1))
    replace_file(path, b"new")
    assert path.stat().st_mtime > 1


def test_a_full_disk_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "old.png").write_bytes(b"old")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    for name in ("old.png", "new.png"):
        with pytest.raises(OSError, match="No space left"):
            replace_file(tmp_path / name, b"new", durable=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"old.png": b"old"}
