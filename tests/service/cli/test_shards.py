"""Parts of an archive: each image is in one, whichever machine asks; and lists of paths in the place of folders."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from itertools import chain
from pathlib import Path

import pytest

from service.cli.archive import ArchiveError, find_pictures, list_pictures, require_pictures
from service.cli.shards import Shard
from tests.odd_archive import ODD_NAMES
from tests.service.cli.conftest import cin
from tests.service.cli.results import rows_of


def in_shard(folder: Path, shard: str) -> list[str]:
    pictures = list_pictures([folder], Counter(), shard=Shard.parse(shard))
    return [os.path.relpath(path, folder) for path in pictures]


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Files of odd names in folders."""
    for below in ("", "a", "a/b", "z"):
        for name in ODD_NAMES:
            path = tmp_path / "large" / below / os.fsdecode(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return tmp_path / "large"


def test_every_picture_is_in_one_part_wherever_the_archive_is(large: Path, tmp_path: Path) -> None:
    parts = [in_shard(large, f"{i}/3") for i in (1, 2, 3)]
    whole = [str(path.relative_to(large)) for path in find_pictures([large]).pictures]
    assert sorted(chain(*parts)) == sorted(whole)
    assert all(len(part) > len(whole) / 6 for part in parts)
    assert all(part == [path for path in whole if path in part] for part in parts)  # in order
    shutil.move(large, tmp_path / "elsewhere")
    assert [in_shard(tmp_path / "elsewhere", f"{i}/3") for i in (1, 2, 3)] == parts
    (tmp_path / "elsewhere/new.jpg").touch()
    assert all(set(part) <= set(in_shard(tmp_path / "elsewhere", f"{i}/3")) for i, part in enumerate(parts, start=1))


def test_another_name_of_a_picture_is_in_no_other_part(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for i in range(20):
        (tmp_path / f"in/{i}-picture.jpg").touch()
        (tmp_path / f"in/{i}-link.jpg").symlink_to(f"{i}-picture.jpg")
    parts = [in_shard(tmp_path / "in", f"{i}/4") for i in range(1, 5)]
    assert sorted(chain(*parts)) == sorted(f"{i}-link.jpg" for i in range(20))


@pytest.mark.parametrize("shard", ["0/3", "4/3", "1", "1/0", "-1/3", "1/3/5", "a/b", "１/３"])
def test_other_parts_are_wrong_usage(environment: dict[str, str], archive: Path, shard: str) -> None:
    result = cin("predict", archive, f"--shard={shard}", **environment)
    assert result.exit_code == 2
    assert "--shard" in result.stderr


def test_a_part_may_be_empty(environment: dict[str, str], picture: Path, tmp_path: Path) -> None:
    rows = []
    for i in range(1, 4):
        out = tmp_path / f"part-{i}.jsonl"
        assert cin("predict", picture, "--shard", f"{i}/3", "--out", out, **environment).exit_code == 0
        assert cin("predict", picture, "--shard", f"{i}/3", **environment).exit_code == 0
        rows += rows_of(out)
    assert len(rows) == 1


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\0"])
@pytest.mark.parametrize("complete", [False, True])
def test_a_list_is_read_as_find_writes_it(
    large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: bytes, complete: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = [path.relative_to(tmp_path) for path in find_pictures([large]).pictures]
    if end != b"\0":
        paths = [path for path in paths if not set(str(path)) & {"\n", "\r"}]
    many = [*paths, *(Path("large") / f"no-{i}.jpg" for i in range(5_000))]  # more than is read at once
    Path("list.txt").write_bytes(end.join(map(os.fsencode, many)) + (end if complete else b""))
    assert find_pictures([Path("list.txt")]).pictures == many
    assert find_pictures([Path("list.txt"), large]).pictures[: len(many)] == many


def test_lists_name_folders_as_well(
    environment: dict[str, str], archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(archive.parent)
    Path("list.txt").write_text("archive/below\n\narchive/0.png\nmissing.png\n")
    result = cin("predict", "list.txt", "--out", "results.csv", **environment)
    assert result.exit_code == 1
    assert [row["picture"] for row in rows_of(Path("results.csv"))] == [
        *(f"archive/below/{i}.PNG" for i in (1, 3, 5)),
        "archive/0.png",
        "missing.png",
    ]
    Path("empty.txt").write_text("\n")
    for listed in ("empty.txt", "folders.txt"):
        Path("folders.txt").write_text(".\nempty\n")
        Path("empty").mkdir(exist_ok=True)
        assert cin("predict", listed, "--out", "other.csv", **environment).exit_code == 1
        with pytest.raises(ArchiveError, match="empty"):
            require_pictures([Path(listed)])
    assert not Path("other.csv").exists()


def test_unreadable_folders_are_counted_and_the_others_read(
    environment: dict[str, str], archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (archive / "locked").mkdir()
    scandir = os.scandir

    def refused(path: int | str | os.PathLike[str]) -> object:  # a descriptor where pytest removes the folder
        # Root may read everything, so the refusal is played.
        if not isinstance(path, int) and Path(path).name == "locked":
            raise PermissionError(13, os.strerror(13), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    for options in (["--out", tmp_path / "results.csv"], ["--json"]):
        result = cin("predict", archive, *options, **environment)
        assert result.exit_code == 1
        assert result.stderr.count("locked: cannot read the folder: Permission denied") == 1
        assert '"unreadable folders": 1' in result.stderr.splitlines()[-1]
    assert len(rows_of(tmp_path / "results.csv")) == 7
