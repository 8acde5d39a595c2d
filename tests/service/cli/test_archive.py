"""Which files a command finds, and which it leaves out."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from service.cli.archive import ArchiveError, find_pictures
from service.cli.paths import RealPaths
from tests.service.cli.conftest import cin


def put(folder: Path, *names: str) -> None:
    """Empty files, in folders that are made."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_pictures_are_found_by_their_suffix_and_in_order(tmp_path: Path) -> None:
    names = ["a.JPG", "b/c.jpeg", "b/d.jpe", "b/e.jfif", "f.png", "folder.jpg/g.webp", "h.tif", "i.TIFF", "j.avif"]
    put(tmp_path, *reversed(names))
    found = find_pictures([tmp_path])
    assert found.pictures == [tmp_path / name for name in names]
    assert not found.left_out


def test_a_file_that_is_named_is_always_taken(tmp_path: Path) -> None:
    put(tmp_path, ".hidden", "a.jpg")
    named = [tmp_path / ".hidden", tmp_path / "a.jpg", tmp_path / "nowhere"]
    assert find_pictures([*named, tmp_path]).pictures == named


def test_what_is_left_out_is_counted_by_kind(tmp_path: Path) -> None:
    put(
        tmp_path,
        "a.jpg",
        "b.bmp",
        "._a.jpg",
        ".b.png",
        "Thumbs.db",
        "notes.txt",
        "IM000001",
        "scan.",
        "x.HEIC",
        "y.heif",
        "DICOMDIR",
    )
    put(tmp_path, "below/x.jp2", "below/x.nef", "below/x.pdf", "below/x.gif", "below/x.avifs")
    found = find_pictures([tmp_path])
    assert found.pictures == [tmp_path / "a.jpg", tmp_path / "b.bmp"]
    assert found.left_out == {
        "hidden files": 2,
        "other files": 2,
        "files without suffix": 3,
        "HEIC": 2,
        "JPEG 2000": 1,
        "camera raw": 1,
        "PDF": 1,
        "GIF": 1,
        "AVIF animation": 1,
    }


@pytest.mark.parametrize(
    "path",
    [
        *("a.jpg", "real/a.jpg", "link/a.jpg", "real/to-b.jpg", "link/to-b.jpg", "nothing/a.jpg", "real/no.jpg"),
        *("real/../link/a.jpg", "link/../a.jpg", "real//a.jpg", "real/", "real/.", "link/..", "/a.jpg", "//a.jpg", "/"),
        *("root/etc", "loop/a.jpg", "real/sp ace\u00e9.jpg", "real/\udcff.jpg"),
    ],
)
def test_real_paths_are_those_of_the_system(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "a.jpg", "real/a.jpg", "real/b.jpg")
    for link, target in {"link": "real", "real/to-b.jpg": "b.jpg", "root": "/", "loop": "loop"}.items():
        (tmp_path / link).symlink_to(target)
    monkeypatch.chdir(tmp_path)
    real_paths = RealPaths()
    for asked in (path, Path(path), tmp_path / path, path):
        assert real_paths.of(asked) == os.path.realpath(asked)


def test_dicom_files_are_found_by_their_content_as_well(tmp_path: Path) -> None:
    put(tmp_path, "a.dcm", "IM000001", "notes.txt")
    for name in ("IM000002", "1.2.276.0.7230010.3.1.4.8323329", "picture.img", "DICOMDIR", "x.heic", "._IM000002"):
        (tmp_path / name).write_bytes(bytes(128) + b"DICM")
    found = find_pictures([tmp_path])
    assert {path.name for path in found.pictures} == {
        "a.dcm",
        "IM000002",
        "1.2.276.0.7230010.3.1.4.8323329",
        "picture.img",
    }
    assert found.left_out == {"files without suffix": 2, "other files": 1, "HEIC": 1, "hidden files": 1}


def test_pipes_and_files_that_may_not_be_read_are_no_dicom_files(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    found = find_pictures([tmp_path])
    assert found.pictures == [tmp_path / "a.jpg"]
    assert found.left_out == {"files without suffix": 2}


def test_a_folder_that_two_links_lead_to_is_read_once(tmp_path: Path) -> None:
    put(tmp_path, "real/a.jpg", "real/b/c.jpg")
    for name in ("first", "second"):
        (tmp_path / name).symlink_to("real")
    found = find_pictures([tmp_path / "first", tmp_path / "second"])
    assert found.pictures == [tmp_path / "first" / "a.jpg", tmp_path / "first" / "b" / "c.jpg"]
    assert found.left_out == {"other names of the same images": 2}


def test_folders_of_systems_are_not_searched(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", ".Trash-1000/files/deleted.jpg", "@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg", "__MACOSX/a.jpg")
    put(tmp_path, "b/$RECYCLE.BIN/c.jpg", "b/.git/x.png", "c/@EADIR/d.jpg", ".TRASH-1000/e.jpg")
    found = find_pictures([tmp_path])
    assert found.pictures == [tmp_path / "a.jpg"]
    assert found.left_out == {"hidden and system folders": 7}
    assert find_pictures([tmp_path / ".Trash-1000"]).pictures == [tmp_path / ".Trash-1000/files/deleted.jpg"]


def test_links(tmp_path: Path) -> None:
    put(tmp_path, "in/a.jpg", "elsewhere/b.jpg")
    links = {"good.jpg": "a.jpg", "loop.jpg": "loop.jpg", "dangling.jpg": "nowhere.jpg", "zero.jpg": "/dev/zero"}
    for name, target in {**links, "folder": "../elsewhere", "loop": "."}.items():
        (tmp_path / "in" / name).symlink_to(target)
    os.mkfifo(tmp_path / "in/pipe.jpg")
    found = find_pictures([tmp_path / "in"])
    assert found.pictures == [tmp_path / "in/a.jpg"]
    assert found.left_out == {
        "symlinked folders": 2,
        "pipes, devices and broken links": 4,
        "other names of the same images": 1,
    }


def test_a_picture_is_taken_once_by_its_first_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "in/a.jpg", "in/b.jpg")
    monkeypatch.chdir(tmp_path / "in")
    (tmp_path / "link").symlink_to("in")
    found = find_pictures([Path("b.jpg"), tmp_path / "link", Path(), tmp_path / "in", Path("../in/a.jpg")])
    assert found.pictures == [Path("b.jpg"), tmp_path / "link/a.jpg"]
    assert found.left_out == {"other names of the same images": 5}


def test_the_command_s_own_files_are_not_counted(
    environment: dict[str, str], archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (archive / "notes.txt").unlink()
    (archive / "latest.csv").symlink_to("results.csv")
    (archive / ".results.csv.part").touch()  # left by a command that was killed
    (archive.parent / "link").symlink_to(archive)
    for start, options in ((archive, ["latest.csv"]), (archive.parent, ["link/latest.csv"])):
        monkeypatch.chdir(start)
        for _ in range(2):
            overlays = Path(options[0]).parent / "overlays"
            result = cin("predict", archive, "--out", *options, "--overlay", overlays, **environment)
            assert result.exit_code == 0, result.stderr
            assert json.loads(result.stderr.splitlines()[-1])["summary"]["left_out"] == {}
            assert {path.name for path in archive.iterdir() if path.suffix not in (".png", "")} == {
                "latest.csv",
                "results.csv",
            }


def test_a_folder_without_pictures(environment: dict[str, str], tmp_path: Path) -> None:
    put(tmp_path, "x.heic")
    result = cin("predict", tmp_path, **environment)
    assert result.exit_code == 1
    assert "holds no images" in result.stderr
    assert "HEIC: 1" in result.stderr
    with pytest.raises(ArchiveError):
        find_pictures([tmp_path])


def test_a_folder_that_may_not_be_read(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (archive / "locked").mkdir()
    scandir = os.scandir

    def refused(path: Path | str | int) -> object:
        # Root may read everything, so the refusal is played. pytest lists open folders, by number, when it clears up.
        if not isinstance(path, int) and Path(path).name == "locked":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(ArchiveError, match=r"cannot read the folder .*locked: Permission denied"):
        find_pictures([archive])


@pytest.mark.parametrize("options", [["--json"], ["--out", "results.csv"], ["--out", "results.jsonl"]])
def test_the_counts_are_reported(
    environment: dict[str, str], archive: Path, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    """To people, and in the last line to programs."""
    monkeypatch.chdir(archive)
    put(archive, "x.heic", "y.gif", ".Trash-1000/z.jpg", "sparse.tif")
    os.truncate(archive / "sparse.tif", 2**36)
    result = cin("predict", ".", *options, **environment)
    assert result.exit_code == 1
    *lines, last = result.stderr.splitlines()
    assert "left out: GIF: 1, HEIC: 1, hidden and system folders: 1, other files: 1" in lines
    left_out = {"HEIC": 1, "GIF": 1, "hidden and system folders": 1, "other files": 1}
    assert json.loads(last)["summary"] == {
        "pictures": 8,
        "left_out": left_out,
        "answered_before": 0,
        "answered": 7,
        "abstained": 0,
        "failed": 1,
        "without_overlays": 0,
    }
