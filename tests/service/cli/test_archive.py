"""Which files a command finds."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from service.cli.archive import ArchiveError, find_pictures
from tests.service.cli.conftest import cin


def test_hidden_files_are_no_pictures(tmp_path: Path) -> None:
    for name in ("a.jpg", "._a.jpg"):
        (tmp_path / name).write_bytes(b"")
    assert find_pictures([tmp_path]) == [tmp_path / "a.jpg"]


def test_a_folder_without_pictures(environment: dict[str, str], tmp_path: Path) -> None:
    result = cin("predict", tmp_path, **environment)
    assert result.exit_code == 1
    assert "holds no pictures" in result.stderr
    with pytest.raises(ArchiveError):
        find_pictures([tmp_path])


def test_a_folder_that_may_not_be_read(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (archive / "locked").mkdir()
    scandir = os.scandir

    def refused(path: str) -> object:
        # Root may read everything, so the refusal is played.
        if Path(path).name == "locked":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(ArchiveError, match=r"cannot read the folder .*locked: Permission denied"):
        find_pictures([archive])
