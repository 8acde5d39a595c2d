"""Whole challenges, and the command that downloads them."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from model_training.cli.main import app
from model_training.data.download import download
from model_training.data.download.download import file_sums, read_sums
from model_training.data.download.official import OfficialFile
from model_training.data.download.unzip import ArchiveError, DownloadError
from model_training.data.isic import read_set
from model_training.data.pictures import DatasetError
from tests.model_training.data.download.challenge import Challenge, set_names
from tests.model_training.data.download.server import Server
from tests.model_training.locks import held_by_another_process


def test_the_readers_read_what_was_downloaded(challenge: Challenge) -> None:
    printed = challenge.download()
    for name in set_names(challenge):
        ours, theirs = read_set(challenge.data, name), read_set(challenge.original, name)
        assert [(s.id, s.label) for s in ours.samples] == [(s.id, s.label) for s in theirs.samples]
        for sample, original in zip(ours.samples, theirs.samples, strict=True):
            assert sample.picture.read_bytes() == original.picture.read_bytes()
            assert sample.mask is not None
            assert original.mask is not None
            assert sample.mask.read_bytes() == original.mask.read_bytes()
        assert f"{name}: {len(ours.samples)} images" in printed
    left = {path.name for path in challenge.folder.iterdir()}
    assert left == {f.folder if f.is_archive else f.name for f in challenge.files} | {"SHA256SUMS", ".lock"}
    sums = read_sums(challenge.folder / "SHA256SUMS")
    assert sums == {
        file.name: hashlib.sha256(challenge.server.files[challenge.path(file.name)]).hexdigest()
        for file in challenge.files
    }


def test_a_second_run_asks_for_nothing(challenge: Challenge) -> None:
    challenge.download()
    asked = len(challenge.server.requests)
    before = {path: path.stat().st_mtime_ns for path in challenge.folder.rglob("*")}
    challenge.download()
    assert len(challenge.server.requests) == asked
    assert {path: path.stat().st_mtime_ns for path in challenge.folder.rglob("*")} == before


def test_archives_are_kept_on_request_and_files_placed_by_hand_are_used(challenge: Challenge) -> None:
    challenge.folder.mkdir(parents=True)
    for file in challenge.files:
        (challenge.folder / file.name).write_bytes(challenge.server.files[challenge.path(file.name)])
    challenge.download(keep_archives=True)
    assert challenge.server.requests == []
    assert all((challenge.folder / file.name).is_file() for file in challenge.files)
    assert len(read_set(challenge.data, set_names(challenge)[0]).samples) > 0


def archive_of(challenge: Challenge) -> OfficialFile:
    return next(file for file in challenge.files if file.is_archive)


def test_a_file_that_differs_from_the_recorded_sum(challenge: Challenge) -> None:
    file = archive_of(challenge)
    challenge.files = tuple(OfficialFile(f.name, f.num_items) for f in challenge.files)
    challenge.download()
    shutil.rmtree(challenge.folder / file.folder)
    challenge.server.files[challenge.path(file.name)] += b"changed"
    with pytest.raises(DownloadError, match=rf"{file.name} is not the file.*its SHA-256.*--accept-changed"):
        challenge.download()
    assert not (challenge.folder / file.folder).exists()
    assert not (challenge.folder / file.name).exists()
    challenge.download(accept_changed=True)
    changed = hashlib.sha256(challenge.server.files[challenge.path(file.name)]).hexdigest()
    assert read_sums(challenge.folder / "SHA256SUMS")[file.name] == changed


def test_a_file_that_differs_from_the_known_sum_is_not_recorded(challenge: Challenge) -> None:
    file = challenge.files[0]
    challenge.server.files[challenge.path(file.name)] += b"\n"
    with pytest.raises(DownloadError, match=f"{file.name} is not the file.*its MD5.*the known one is {file.md5}"):
        challenge.download()
    assert read_sums(challenge.folder / "SHA256SUMS") == {}
    assert (challenge.folder / f"{file.name}.refused").is_file()


def test_a_damaged_archive_leaves_no_sum_that_would_refuse_the_sound_one(challenge: Challenge) -> None:
    file = archive_of(challenge)
    challenge.files = tuple(OfficialFile(f.name, f.num_items) for f in challenge.files)
    sound = challenge.server.files[challenge.path(file.name)]
    challenge.server.files[challenge.path(file.name)] = sound[:-30]
    with pytest.raises(ArchiveError, match="delete it and run the same command again"):
        challenge.download()
    challenge.server.files[challenge.path(file.name)] = sound
    (challenge.folder / file.name).unlink()
    challenge.download()


def test_a_folder_that_is_not_complete_is_neither_used_nor_touched(challenge: Challenge) -> None:
    file = archive_of(challenge)
    challenge.download()
    next((challenge.folder / file.folder).iterdir()).unlink()
    left = file.num_items - 1
    with pytest.raises(DownloadError, match=rf"holds {left} images or masks, the official set {file.num_items};"):
        challenge.download()
    assert len(list((challenge.folder / file.folder).iterdir())) == left
    with pytest.raises(DatasetError):
        challenge.download(accept_changed=True)


def test_a_call_that_was_killed_once_it_had_unpacked(challenge: Challenge) -> None:
    file = archive_of(challenge)
    challenge.download(keep_archives=True)
    sums = read_sums(challenge.folder / "SHA256SUMS")
    (challenge.folder / "SHA256SUMS").unlink()
    asked = len(challenge.server.requests)
    challenge.download()
    assert len(challenge.server.requests) == asked
    assert read_sums(challenge.folder / "SHA256SUMS") == sums
    assert not (challenge.folder / file.name).exists()


def test_a_sums_file_that_is_none(challenge: Challenge) -> None:
    challenge.folder.mkdir(parents=True)
    (challenge.folder / "SHA256SUMS").write_text("hello\n")
    with pytest.raises(DownloadError, match="SHA256SUMS, line 1: not a sum and a name"):
        challenge.download()


def test_both_sums_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    sums = file_sums(path)
    # The digests of "abc" in RFC 1321 and FIPS 180-2.
    assert sums.md5 == "900150983cd24fb0d6963f7d28e17f72"
    assert sums.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["download", *arguments])


def test_the_command(challenge: Challenge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "OFFICIAL_FILES", {challenge.name: challenge.files})
    result = run(challenge.name, "--data", str(challenge.data), "--base-url", challenge.server.url)
    assert result.exit_code == 0, result.output
    assert f"{challenge.files[-1].name}: downloaded, unpacked" in result.output
    assert len(read_set(challenge.data, set_names(challenge)[0]).samples) > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("isic2015",), "there is no challenge 'isic2015'; choose isic2016 or isic2017"),
        (("isic2016", "--base-url", "ftp://example.org"), "must begin with http:// or https://"),
    ],
)
def test_what_the_command_refuses(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    result = run(*arguments, "--data", str(tmp_path / "data"))
    assert result.exit_code == 1
    assert message in result.output


def test_a_folder_that_cannot_be_written(tmp_path: Path, server: Server) -> None:
    (tmp_path / "data").write_text("a file where the folder should be")
    result = run("isic2016", "--data", str(tmp_path / "data"), "--base-url", server.url)
    assert result.exit_code == 1
    assert "run it again" in result.output


def test_a_second_download_into_the_same_folder(tmp_path: Path, server: Server) -> None:
    with held_by_another_process(tmp_path / "data" / "isic2016") as other:
        result = run("isic2016", "--data", str(tmp_path / "data"), "--base-url", server.url)
        other.kill()
    assert result.exit_code == 1
    assert "another download" in result.output


def test_an_interrupted_command_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(httpx.Client, "stream", interrupt)
    result = run("isic2016", "--data", str(tmp_path / "data"))
    assert result.exit_code == 130
    assert "run the same command again to resume" in result.output
