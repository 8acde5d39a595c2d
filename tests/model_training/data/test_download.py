"""Downloading, from a server on this machine that misbehaves in every way the network knows."""

from __future__ import annotations

import hashlib
import io
import shutil
import stat
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console
from typer.testing import CliRunner

from model_training.cli.main import app
from model_training.data.download import download, unzip
from model_training.data.download.download import download_challenge, file_sums, read_sums
from model_training.data.download.fetch import MAX_TRIES, fetch
from model_training.data.download.official import OFFICIAL_FILES, OfficialFile
from model_training.data.download.unzip import ArchiveError, DownloadError, unpack
from model_training.data.isic import DatasetError, read_set
from tests.model_training.locks import held_by_another_process
from tests.synthetic import write_isic2016, write_isic2017

BODY = bytes(range(256)) * 40


@dataclass
class Fault:
    """What goes wrong in one answer; the defaults are a sound server's."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    drop_after: int | None = None
    extra: bytes = b""
    length: int | None = None
    no_length: bool = False
    ignore_range: bool = False
    ignore_if_range: bool = False
    shift_range: int = 0


class Server(ThreadingHTTPServer):
    """Serves ``files`` by path; ``faults`` are used up one an answer, ``requests`` are what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {"/file": BODY}
        self.faults: list[Fault] = []
        self.requests: list[dict[str, str]] = []
        self.etags = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def ranges(self) -> list[str | None]:
        return [request.get("Range") for request in self.requests]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is part of the tests."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on the terminal."""

    def do_GET(self) -> None:
        self.server.requests.append({"path": self.path, **dict(self.headers.items())})
        fault = self.server.faults.pop(0) if self.server.faults else Fault()
        body = self.server.files.get(self.path)
        if fault.status or body is None:
            self.send_response(fault.status or 404)
            self._headers({"Content-Length": "0", **fault.headers})
            return
        etag = f'"{hashlib.md5(body).hexdigest()}"'
        versions = {"ETag": etag} if self.server.etags else {}
        first = int(self.headers.get("Range", "bytes=0-")[6:-1])
        current = fault.ignore_if_range or self.headers.get("If-Range", etag) == etag
        if "Range" in self.headers and current and not fault.ignore_range:
            if first >= len(body):
                self.send_response(416)
                self._headers({"Content-Range": f"bytes */{len(body)}", "Content-Length": "0"})
                return
            rest = body[first:]
            self.send_response(206)
            extra = {"Content-Range": f"bytes {first + fault.shift_range}-{len(body) - 1}/{len(body)}"}
        else:
            rest, extra = body, {}
            self.send_response(200)
        length = {} if fault.no_length else {"Content-Length": str(fault.length or len(rest))}
        self._headers({**length, **versions, **extra, **fault.headers})
        self.wfile.write((rest if fault.drop_after is None else rest[: fault.drop_after]) + fault.extra)

    def _headers(self, headers: dict[str, str]) -> None:
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield running
        running.shutdown()


class Fetched:
    """One file, fetched into a folder of the test; ``pauses`` are the waits between tries, which are not slept."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server, self.target, self.pauses = server, folder / "file", list[float]()
        self.part = folder / "file.part"

    def __call__(self, progress: Callable[[int, int], None] = lambda done, total: None) -> bytes:
        with httpx.Client(timeout=5) as client:
            fetch(client, f"{self.server.url}/file", self.target, progress=progress, pause=self.pauses.append)
        return self.target.read_bytes()

    def left(self) -> list[str]:
        return sorted(path.name for path in self.target.parent.iterdir())


@pytest.fixture
def fetched(server: Server, tmp_path: Path) -> Fetched:
    folder = tmp_path / "downloads"
    folder.mkdir()
    return Fetched(server, folder)


def test_a_sound_server(fetched: Fetched) -> None:
    told: list[tuple[int, int]] = []
    assert fetched(lambda done, total: told.append((done, total))) == BODY
    assert told[0] == (0, len(BODY))
    assert told[-1] == (len(BODY), len(BODY))
    assert fetched.left() == ["file"]
    assert fetched.server.requests[0]["Accept-Encoding"] == "identity"


def test_dropped_connections_are_taken_up_where_they_broke(server: Server, fetched: Fetched) -> None:
    server.faults = [Fault(drop_after=1000), Fault(drop_after=500), Fault(drop_after=0)]
    assert fetched() == BODY
    assert server.ranges() == [None, "bytes=1000-", "bytes=1500-", "bytes=1500-"]
    assert fetched.pauses == [1.0, 1.0, 2.0]


def test_a_server_that_ignores_ranges_restarts_the_file(server: Server, fetched: Fetched) -> None:
    server.faults = [Fault(drop_after=1000), Fault(ignore_range=True)]
    assert fetched() == BODY
    assert server.ranges() == [None, "bytes=1000-"]


@pytest.mark.parametrize("fault", [Fault(), Fault(ignore_if_range=True)], ids=["If-Range", "no If-Range"])
def test_two_versions_are_never_joined(server: Server, fetched: Fetched, fault: Fault) -> None:
    changed = BODY[::-1]

    def change(done: int, _: int) -> None:
        if done == 1000:
            server.files["/file"] = changed

    server.faults = [Fault(drop_after=1000), fault]
    assert fetched(change) == changed


def test_a_file_without_version_is_started_again(server: Server, fetched: Fetched) -> None:
    server.etags = False
    server.faults = [Fault(drop_after=1000)]
    assert fetched() == BODY
    assert server.ranges() == [None, None]


def test_last_modified_stands_in_for_a_weak_etag(server: Server, fetched: Fetched) -> None:
    when = "Tue, 01 Mar 2016 00:00:00 GMT"
    weak = {"ETag": 'W/"1"', "Last-Modified": when}
    server.etags = False
    server.faults = [Fault(drop_after=1000, headers=weak), Fault(ignore_if_range=True, headers=weak)]
    assert fetched() == BODY
    assert server.requests[1]["If-Range"] == when
    assert server.ranges() == [None, "bytes=1000-"]


def test_a_length_that_is_too_large(server: Server, fetched: Fetched) -> None:
    server.faults = [Fault(length=len(BODY) + 7)]
    assert fetched() == BODY, "the 416 of the second try tells that all is here"
    assert server.ranges() == [None, f"bytes={len(BODY)}-"]


def test_a_body_longer_than_announced_is_cut_to_its_length(server: Server, fetched: Fetched) -> None:
    server.faults = [Fault(extra=b"more")]
    assert fetched() == BODY


def test_a_rest_longer_than_the_file_starts_over(server: Server, fetched: Fetched) -> None:
    server.faults = [Fault(drop_after=1000), Fault(length=len(BODY) - 1000 + 4, extra=b"more")]
    assert fetched() == BODY
    assert server.ranges() == [None, "bytes=1000-", None]


def test_another_range_than_asked_for_starts_over(server: Server, fetched: Fetched) -> None:
    server.faults = [Fault(drop_after=1000), Fault(shift_range=1)]
    assert fetched() == BODY
    assert server.ranges() == [None, "bytes=1000-", None]


def test_a_part_longer_than_the_file_starts_over(server: Server, fetched: Fetched) -> None:
    server.faults = [Fault(drop_after=1000)] + [Fault(drop_after=0)] * MAX_TRIES
    with pytest.raises(DownloadError):
        fetched()
    with fetched.part.open("ab") as part:
        part.write(BODY)
    assert fetched() == BODY


def test_no_length_at_all_is_refused(server: Server, fetched: Fetched) -> None:
    server.faults = [Fault(no_length=True)]
    with pytest.raises(DownloadError, match="does not say how long the file is"):
        fetched()


def test_a_compressed_answer_is_refused(server: Server, fetched: Fetched) -> None:
    server.faults = [Fault(headers={"Content-Encoding": "gzip"})]
    with pytest.raises(DownloadError, match="came compressed on the way"):
        fetched()


def test_a_busy_server_is_asked_again(server: Server, fetched: Fetched) -> None:
    server.faults = [Fault(status=503), Fault(status=429), Fault(status=500)]
    assert fetched() == BODY
    assert fetched.pauses == [1.0, 2.0, 4.0]


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_refusal_is_final_and_names_the_address(server: Server, fetched: Fetched, status: int) -> None:
    server.faults = [Fault(status=status)]
    with pytest.raises(DownloadError, match=rf"http://127\.0\.0\.1:\d+/file answered {status}.*--base-url"):
        fetched()
    assert len(server.requests) == 1


def test_the_tries_end_and_a_later_call_goes_on(server: Server, fetched: Fetched) -> None:
    server.faults = [Fault(drop_after=1000)] + [Fault(drop_after=0)] * (MAX_TRIES - 1)
    with pytest.raises(DownloadError, match=r"1,000 bytes are kept: run the same command again"):
        fetched()
    assert fetched.left() == ["file.part", "file.part.json"]
    assert len(server.requests) == MAX_TRIES
    assert fetched() == BODY
    assert server.ranges()[-1] == "bytes=1000-"


def test_a_server_that_always_starts_over_is_given_up(server: Server, fetched: Fetched) -> None:
    server.faults = [Fault(drop_after=1000, ignore_range=True) for _ in range(100)]
    with pytest.raises(DownloadError, match="made no progress"):
        fetched()
    assert len(server.requests) <= MAX_TRIES + 1


def test_nobody_answers(tmp_path: Path) -> None:
    with httpx.Client(timeout=1) as client, pytest.raises(DownloadError, match=r"http://127\.0\.0\.1:9/file: "):
        fetch(client, "http://127.0.0.1:9/file", tmp_path / "file", pause=lambda _: None)


def test_an_interruption_leaves_the_part_to_go_on_from(server: Server, fetched: Fetched) -> None:
    def interrupt(done: int, _: int) -> None:
        if done:
            raise KeyboardInterrupt

    server.faults = [Fault(drop_after=1000)]
    with pytest.raises(KeyboardInterrupt):
        fetched(interrupt)
    assert fetched.part.read_bytes() == BODY[:1000]
    assert fetched() == BODY
    assert server.ranges() == [None, "bytes=1000-"]


def test_the_part_of_another_address_is_not_taken_up(server: Server, fetched: Fetched) -> None:
    fetched.part.write_bytes(b"x" * 10)
    fetched.part.with_name("file.part.json").write_text('{"url": "http://elsewhere/file", "version": "\\"1\\""}')
    assert fetched() == BODY
    assert server.ranges() == [None]


def test_a_full_disk_is_seen_before_the_first_byte(
    server: Server, fetched: Fetched, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(fetched.target.parent)._replace(free=len(BODY) - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DownloadError, match=r"needs 10\.2 kB, .* has 10\.2 kB left; free some space"):
        fetched()
    assert not fetched.part.exists()
    assert len(server.requests) == 1


# Archives


def zipped(entries: dict[str, bytes], *, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as out:
        for name, content in entries.items():
            out.writestr(name, content)
    return buffer.getvalue()


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


def test_a_bomb(archive: Path) -> None:
    refused(archive, zipped({"ISIC_0000001.png": bytes(20 * 2**20)}), "would grow to 21.0 MB, more than the")


def test_more_entries_than_any_official_archive(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unzip, "MAX_ENTRIES", 2)
    refused(archive, zipped({f"ISIC_{i:07d}.jpg": b"" for i in range(3)}), "has 3 entries, more than the 2")


def test_two_files_of_one_name(archive: Path) -> None:
    refused(archive, zipped({"a/ISIC_0000001.jpg": b"1", "b/ISIC_0000001.JPG": b"2"}), "two files named")


def test_an_archive_of_nothing(archive: Path) -> None:
    refused(archive, zipped({"readme.txt": b"nothing"}), "no picture, mask or table")


@pytest.mark.parametrize("damage", ["a byte", "the end", "all"])
def test_damaged_archives(archive: Path, damage: str) -> None:
    picture = bytes(range(256)) * 20
    sound = zipped({"ISIC_0000001.jpg": b"first", "ISIC_0000002.jpg": picture}, compression=zipfile.ZIP_STORED)
    place = sound.index(picture) + 100
    content = {
        "a byte": sound[:place] + b"?" + sound[place + 1 :],
        "the end": sound[:-200],
        "all": b"<html>Sorry</html>",
    }[damage]
    refused(archive, content, "cannot be unpacked .* delete it and run the same command again")


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


# Whole challenges


@dataclass
class Challenge:
    """A small synthetic challenge on the server, and the folder that it is downloaded into."""

    server: Server
    name: str
    files: tuple[OfficialFile, ...]
    original: Path
    data: Path

    @property
    def folder(self) -> Path:
        return self.data / self.name

    def path(self, name: str) -> str:
        return f"/{self.name.removeprefix('isic')}/{name}"

    def download(self, **options: Any) -> str:
        """What is printed."""
        console = Console(file=io.StringIO(), width=200)
        options = {"files": self.files, **options}
        download_challenge(
            self.name, self.data, console=console, base_url=self.server.url, pause=lambda _: None, **options
        )
        return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.fixture(params=["isic2016", "isic2017"])
def challenge(request: pytest.FixtureRequest, server: Server, tmp_path: Path) -> Challenge:
    original = tmp_path / "original"
    if request.param == "isic2016":
        write_isic2016(original, size=32, train=4, test=2, seed=0)
    else:
        write_isic2017(original, size=32, train=6, validation=3, test=3, seed=0)
    files = []
    small = Challenge(server, request.param, (), original, tmp_path / "data")
    for official in OFFICIAL_FILES[request.param]:
        source = original / request.param / (official.folder if official.is_archive else official.name)
        if official.is_archive:
            members = {f"{official.folder}/{path.name}": path.read_bytes() for path in source.iterdir()}
            pictures = [name for name in members if name.endswith(".jpg")]
            superpixels = {name.replace(".jpg", "_superpixels.png"): b"superpixels" for name in pictures}
            content, num_items = zipped(members | superpixels), len(members)
        else:
            content, num_items = source.read_bytes(), 0
        server.files[small.path(official.name)] = content
        files.append(OfficialFile(official.name, num_items, hashlib.md5(content).hexdigest()))
    small.files = tuple(files)
    return small


def set_names(challenge: Challenge) -> list[str]:
    splits = ("train", "test") if challenge.name == "isic2016" else ("train", "validation", "test")
    return [f"{challenge.name}-{split}" for split in splits]


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
        assert f"{name}: {len(ours.samples)} pictures" in printed
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
    with pytest.raises(DownloadError, match=rf"holds {left} pictures or masks, the official set {file.num_items};"):
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


@pytest.mark.data
@pytest.mark.parametrize("file", [f for f in OFFICIAL_FILES["isic2017"] if f.name.endswith(".csv")], ids=str)
def test_the_known_sums_of_the_tables(data_root: Path, file: OfficialFile) -> None:
    assert file_sums(data_root / "isic2017" / file.name).md5 == file.md5


def test_the_official_names_are_those_that_the_readers_look_for(tmp_path: Path) -> None:
    write_isic2016(tmp_path, size=32, train=2, test=2, seed=0)
    write_isic2017(tmp_path, size=32, train=3, validation=3, test=3, seed=0)
    for name, files in OFFICIAL_FILES.items():
        written = {path.name for path in (tmp_path / name).iterdir()}
        assert written == {file.folder if file.is_archive else file.name for file in files}


# The command


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
