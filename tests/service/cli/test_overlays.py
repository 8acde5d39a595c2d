"""The overlays of ``cin predict --overlay``: where they are, when they are made, and that they are no images."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep

import pytest
from PIL import Image

from service.bundle import Bundle
from service.cli.archive import ArchiveError, find_pictures
from service.cli.overlays import OverlayFolder
from service.cli.tables import Source
from tests.service.attention.maps import maps
from tests.service.cli.conftest import cin
from tests.service.cli.results import rows_of
from tests.service.tiny_bundle import dark_square, picture_bytes

KINDS = {"lesion.png", "spatial.png", "correlation.png"}


def put(path: Path, start: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture_bytes(dark_square(start=start)))
    return path


def below(folder: Path) -> set[str]:
    """The shown files in a folder and below."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name[0] != "."}


def test_overlays_are_written(environment: dict[str, str], picture: Path, tmp_path: Path) -> None:
    assert cin("predict", picture, "--overlay", tmp_path / "out", **environment).exit_code == 0
    folder = tmp_path / "out" / picture.name
    assert {path.name for path in folder.iterdir()} == KINDS
    for path in folder.iterdir():
        with Image.open(path) as image:
            image.load()


def test_a_model_without_feature_attention_has_one_overlay(plain_bundle: Bundle, picture: Path, tmp_path: Path) -> None:
    environment = {"CIN_BUNDLE": str(plain_bundle.folder), "CIN_PROVIDER": "cpu"}
    assert cin("predict", picture, "--overlay", tmp_path / "out", **environment).exit_code == 0
    assert below(tmp_path / "out") == {"lesion.png/lesion.png"}


def test_they_mirror_the_tree(environment: dict[str, str], tmp_path: Path) -> None:
    for i, name in enumerate(("1/i.jpg", "1/i.png", "2/i.jpg", "2/folder.jpg/i.jpg")):
        put(tmp_path / "in" / name, start=4 * i)
    result = cin("predict", tmp_path / "in", "--overlay", tmp_path / "out", **environment)
    assert result.exit_code == 0, result.stderr
    pictures = ("1/i.jpg", "1/i.png", "2/i.jpg", "2/folder.jpg/i.jpg")
    assert below(tmp_path / "out/in") == {f"{picture}/{kind}" for picture in pictures for kind in KINDS}
    contents = {(tmp_path / "out/in" / picture / "lesion.png").read_bytes() for picture in pictures}
    assert len(contents) == len(pictures)


def test_the_place_follows_from_the_picture_alone(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither from the others of the command nor from how it is named."""
    picture = put(tmp_path / "in/1/i.jpg")
    put(tmp_path / "in/2/i.jpg", start=4)
    (tmp_path / "link").symlink_to("in")
    monkeypatch.chdir(tmp_path / "in/1")
    for named in ([str(picture)], ["i.jpg"], ["."], ["..", str(tmp_path)], ["../../link/1"]):
        out = tmp_path / f"out{len(named)}"
        result = cin("predict", *named, "--overlay", os.path.relpath(out), **environment)
        assert result.exit_code == 0, result.stderr
    others = {f"in/2/i.jpg/{kind}" for kind in KINDS}
    assert below(tmp_path / "out1") == {f"in/1/i.jpg/{kind}" for kind in KINDS}
    assert below(tmp_path / "out2") == below(tmp_path / "out1") | others
    (tmp_path / "elsewhere").mkdir()
    assert cin("predict", picture, "--overlay", tmp_path / "elsewhere/out", **environment).exit_code == 0
    assert below(tmp_path / "elsewhere/out") == {f"{str(picture)[1:]}/{kind}" for kind in KINDS}


@pytest.mark.parametrize("first", [["--out", "results.csv"], ["--out", "results.jsonl"], []])
def test_one_folder_a_day(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: list[str]
) -> None:
    """Images of one name; the second folder's have answers before overlays are asked for."""
    monkeypatch.chdir(tmp_path)
    for i, day in enumerate(("d1", "d2")):
        put(tmp_path / day / "IMG_1.jpg", start=8 * i)
        assert cin("predict", day, "--overlay", f"alone-{day}", **environment).exit_code == 0
    assert cin("predict", "d1", *first, "--overlay", "out", **environment).exit_code == 0
    if first:
        assert cin("predict", "d2", *first, **environment).exit_code == 0
    assert cin("predict", "d2", *first, "--overlay", "out", **environment).exit_code == 0
    for day in ("d1", "d2"):
        made, expected = (tmp_path / folder / day / "IMG_1.jpg/lesion.png" for folder in ("out", f"alone-{day}"))
        assert made.read_bytes() == expected.read_bytes()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/**/*.png") if path.is_file()}
    if first:
        assert cin("predict", "d1", "d2", *first, "--overlay", "out", **environment).exit_code == 0
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/**/*.png") if path.is_file()}


@pytest.mark.parametrize("options", [[], ["--out", "results.csv"]])
def test_overlays_of_another_picture_or_model_are_kept(
    environment: dict[str, str],
    plain_bundle: Bundle,
    picture: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
) -> None:
    """Neither overwritten nor taken for the image's; the answer is written."""
    monkeypatch.chdir(tmp_path)
    command = ["predict", str(picture), "--overlay", "out"]
    assert cin(*command, **environment).exit_code == 0
    before = {path: path.read_bytes() for path in tmp_path.glob("out/**/*.png") if path.is_file()}
    answered = [*command, *options]
    result = cin(*answered, **{**environment, "CIN_BUNDLE": str(plain_bundle.folder)})
    assert result.exit_code == 1
    assert "made from another image or model" in result.stderr
    (tmp_path / "results.csv").unlink(missing_ok=True)
    put(picture, start=8)
    for _ in range(2):
        result = cin(*answered, **environment)
        assert result.exit_code == 1
        assert "made from another image or model" in result.stderr
        assert {path: path.read_bytes() for path in tmp_path.glob("out/**/*.png") if path.is_file()} == before
        assert not options or len((tmp_path / "results.csv").read_text().splitlines()) == 2
    for path in before:
        path.unlink()
    assert cin(*answered, **environment).exit_code == 0
    assert below(tmp_path / "out") == {f"{picture.name}/{kind}" for kind in KINDS}


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_picture_that_was_replaced_after_its_answer_gets_no_overlays(
    environment: dict[str, str], picture: Path, tmp_path: Path, suffix: str
) -> None:
    """They would not be those of the answer."""
    options = ["--out", str(tmp_path / f"results.{suffix}")]
    assert cin("predict", picture, *options, **environment).exit_code == 0
    put(picture, start=8)
    result = cin("predict", picture, *options, "--overlay", tmp_path / "out", **environment)
    assert result.exit_code == 1
    assert "replaced after its answer" in result.stderr
    assert not below(tmp_path / "out")


def test_overlays_are_no_pictures(environment: dict[str, str], archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the searched folder, and whether or not the next command asks for them."""
    monkeypatch.chdir(archive)
    for options in (["--overlay", "overlays"], ["--overlay", "overlays"], ["--overlay", "others"], []):
        result = cin("predict", ".", "--out", "results.csv", *options, **environment)
        assert result.exit_code == 0, result.stderr
    assert len((archive / "results.csv").read_text().splitlines()) == 1 + 7
    found = find_pictures([archive])
    assert len(found.pictures) == 7
    assert found.left_out["folders of overlays"] == 2
    assert below(archive / "overlays") == {f"{p.relative_to(archive)}/{k}" for p in found.pictures for k in KINDS}


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_those_asked_for_later_are_made(
    environment: dict[str, str], archive: Path, tmp_path: Path, suffix: str
) -> None:
    out, overlays = tmp_path / f"results.{suffix}", tmp_path / "overlays"
    assert cin("predict", archive, "--out", out, **environment).exit_code == 0
    before = out.read_bytes()
    result = cin("predict", archive, "--out", out, "--overlay", overlays, **environment)
    assert result.exit_code == 0, result.stderr
    assert "7 of these have no overlays yet" in result.stderr
    assert out.read_bytes() == before
    assert len(below(overlays)) == 7 * 3
    (overlays / "archive/0.png/lesion.png").unlink()
    result = cin("predict", archive, "--out", out, "--overlay", overlays, **environment)
    assert "1 of these have no overlays yet" in result.stderr
    assert len(below(overlays)) == 7 * 3
    (archive / "0.png").write_bytes(b"no picture")
    (overlays / "archive/0.png/lesion.png").unlink()
    result = cin("predict", archive, "--out", out, "--overlay", overlays, **environment)
    assert result.exit_code == 1
    assert "1 without overlays" in result.stderr
    assert out.read_bytes() == before


def test_an_answer_is_kept_without_its_overlays(
    environment: dict[str, str], archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    out = tmp_path / "results.csv"
    with monkeypatch.context() as patch:
        patch.setattr("service.cli.overlays.replace_file", full)
        result = cin("predict", archive, "--out", out, "--overlay", tmp_path / "overlays", **environment)
    assert result.exit_code == 1
    assert result.stderr.count("overlays: No space left on device") == 7
    assert [row["error"] for row in rows_of(out)] == [""] * 7
    result = cin("predict", archive, "--out", out, "--overlay", tmp_path / "overlays", **environment)
    assert result.exit_code == 0
    assert len(below(tmp_path / "overlays")) == 7 * 3


def test_one_command_at_a_time_writes_those_of_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other's scratch file has the same name."""
    num_writing, at_once = 0, set()

    def slow(path: Path, data: bytes) -> None:
        nonlocal num_writing
        num_writing += 1
        at_once.add(num_writing)
        sleep(0.01)
        path.write_bytes(data)
        num_writing -= 1

    monkeypatch.setattr("service.cli.overlays.replace_file", slow)
    source = Source("picture", "model", "fp32")

    def write(_: int) -> None:
        OverlayFolder(tmp_path / "out").write(tmp_path / "i.jpg", maps(), source)

    with ThreadPoolExecutor(4) as commands:
        list(commands.map(write, range(8)))
    assert at_once == {1}
    assert {path.name for path in (tmp_path / "out/i.jpg").iterdir()} == KINDS


@pytest.mark.parametrize("name", ["a" * 251 + ".jpg", "é" * 125 + ".jpg"])
def test_the_longest_names(environment: dict[str, str], tmp_path: Path, name: str) -> None:
    put(tmp_path / "in" / name)
    result = cin("predict", tmp_path / "in", "--overlay", tmp_path / "out", **environment)
    assert result.exit_code == 0, result.stderr
    assert below(tmp_path / "out") == {f"in/{name}/{kind}" for kind in KINDS}


def test_folders_that_hold_something_else_are_refused(
    environment: dict[str, str], archive: Path, tmp_path: Path
) -> None:
    """A search would leave them out from then on."""
    for folder in (archive, archive / "notes.txt", tmp_path / "archive/notes.txt/overlays"):
        result = cin("predict", archive, "--out", tmp_path / "results.csv", "--overlay", folder, **environment)
        assert result.exit_code == 1
        assert result.stderr.startswith("cin: ")
        assert not (tmp_path / "results.csv").exists()
    assert len(find_pictures([archive]).pictures) == 7


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/.DS_Store").touch()
    OverlayFolder(tmp_path / "out")
    with pytest.raises(ArchiveError):
        OverlayFolder(tmp_path)
