"""Archives: what is unpacked, and what is refused."""

from __future__ import annotations

import io
import shutil
import stat
import zipfile
from pathlib import Path

import pytest

from model_training.data.download import unzip
from model_training.data.download.unzip import ArchiveError, DownloadError, unpack
from tests.model_training.data.download.challenge import zipped


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    (tmp_path / "sets").mkdir()
    return tmp_path / "sets" / "Some_Data.zip"


def refused(archive: Path, content: bytes, message: str) -> None:
    """``content`` is an archive that raises, and of which nothing is left anywhere."""
    archive.write_bytes(content)
    with pytest.raises(ArchiveError, match=message):
        unpack(archive, archive.with_suffix(""))
    assert sorted(path.name for path in archive.parent.parent.rglob("*")) == ["Some_Data.zip", "sets"]


def test_only_the_wanted_kinds_are_unpacked(archive: Path) -> None:
    wanted = {
        "Some_Data/ISIC_0000001.jpg": b"picture",
        "Some_Data/ISIC_0000001_segmentation.png": b"mask",
        "Some_Data/ISIC_0000002_Segmentation.png": b"mask of 2016",
        "Some_Data/Some_Data_metadata.csv": b"image_id",
    }
    unwanted = [
        "Some_Data/ISIC_0000001_superpixels.png",
        "__MACOSX/Some_Data/._ISIC_0000001.jpg",
        "Some_Data/.DS_Store",
        "Some_Data/run.sh",
    ]
    archive.write_bytes(zipped(wanted | dict.fromkeys(unwanted, b"unwanted") | {"Some_Data/": b""}))
    told: list[tuple[int, int]] = []
    unpack(archive, archive.with_suffix(""), progress=lambda done, total: told.append((done, total)))
    found = {path.name: path.read_bytes() for path in archive.with_suffix("").iterdir()}
    assert found == {name.split("/")[1]: content for name, content in wanted.items()}
    size = sum(map(len, wanted.values()))
    assert told[-1] == (size, size)


@pytest.mark.parametrize(
    "name",
    [
        "../ISIC_0000001.jpg",
        "Some_Data/../../ISIC_0000001.jpg",
        "/ISIC_0000001.jpg",
        "..\\evil",
        "C:\\ISIC_0000001.jpg",
    ],
)
def test_entries_that_point_outside(archive: Path, name: str) -> None:
    refused(archive, zipped({"Some_Data/ISIC_0000002.jpg": b"", name: b"evil"}), "points outside the folder")


def test_links(archive: Path) -> None:
    link = zipfile.ZipInfo("Some_Data/ISIC_0000001.jpg")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as out:
        out.writestr(link, "/etc/passwd")
    refused(archive, buffer.getvalue(), "is a link or a device")


def test_encrypted_entries(archive: Path) -> None:
    content = bytearray(zipped({"ISIC_0000001.jpg": b"picture"}, compression=zipfile.ZIP_STORED))
    content[content.index(b"PK\x03\x04") + 6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    refused(archive, bytes(content), "the entry .* is encrypted; no official archive")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"ISIC_0000001.png": bytes(20 * 2**20)}, "would grow to 21.0 MB, more than the"),
        ({"a/ISIC_0000001.jpg": b"1", "b/ISIC_0000001.JPG": b"2"}, "two files named"),
        ({"readme.txt": b"nothing"}, "no image, mask or table"),
    ],
    ids=["a bomb", "two of one name", "nothing"],
)
def test_archives_that_no_official_one_is_like(archive: Path, entries: dict[str, bytes], message: str) -> None:
    refused(archive, zipped(entries), message)


def test_more_entries_than_any_official_archive(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unzip, "MAX_ENTRIES", 2)
    refused(archive, zipped({f"ISIC_{i:07d}.jpg": b"" for i in range(3)}), "has 3 entries, more than the 2")


@pytest.mark.parametrize("damage", ["a byte", "the end", "all"])
def test_damaged_archives(archive: Path, damage: str) -> None:
    picture = bytes(range(256)) * 20
    sound = zipped({"ISIC_0000001.jpg": b"first", "ISIC_0000002.jpg": picture}, compression=zipfile.ZIP_STORED)
    contents = {
        "a byte": sound.replace(picture, b"?" + picture[1:]),
        "the end": sound[:-200],
        "all": b"<html>Sorry</html>",
    }
    refused(archive, contents[damage], "cannot be unpacked .* delete it and run the same command again")


def test_a_full_disk_is_seen_before_unpacking(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(archive.parent)._replace(free=3)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    archive.write_bytes(zipped({"ISIC_0000001.jpg": b"four"}))
    with pytest.raises(DownloadError, match=r"unpacking Some_Data\.zip needs 4 bytes, .* has 3 bytes left"):
        unpack(archive, archive.with_suffix(""))
    assert not archive.with_suffix("").exists()


def test_what_a_killed_run_left_is_cleared_away(archive: Path) -> None:
    left = archive.parent / ".unpacking-Some_Data"
    left.mkdir()
    (left / "ISIC_0000009.jpg").write_bytes(b"half")
    archive.write_bytes(zipped({"ISIC_0000001.jpg": b"picture"}))
    unpack(archive, archive.with_suffix(""))
    assert [path.name for path in archive.with_suffix("").iterdir()] == ["ISIC_0000001.jpg"]
    assert not left.exists()
