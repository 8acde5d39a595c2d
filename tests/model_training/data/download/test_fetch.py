"""One file from a server that misbehaves: resumed, restarted or refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from model_training.data.download.fetch import MAX_TRIES, fetch
from model_training.data.download.unzip import DownloadError
from tests.model_training.data.download.server import BODY, Fault, Server


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


DROPPED = Fault(drop_after=1000)


@pytest.mark.parametrize(
    ("faults", "ranges"),
    [
        ([DROPPED, Fault(ignore_range=True)], [None, "bytes=1000-"]),
        ([DROPPED, Fault(shift_range=1)], [None, "bytes=1000-", None]),
        ([DROPPED, Fault(length=len(BODY) - 996, extra=b"more")], [None, "bytes=1000-", None]),
        ([Fault(extra=b"more")], [None]),
        # The 416 of the second try says that all is here.
        ([Fault(length=len(BODY) + 7)], [None, f"bytes={len(BODY)}-"]),
    ],
    ids=["range ignored", "another range", "rest too long", "body too long", "length too large"],
)
def test_what_does_not_fit_is_cut_or_fetched_again(
    server: Server, fetched: Fetched, faults: list[Fault], ranges: list[str | None]
) -> None:
    server.faults = [*faults]
    assert fetched() == BODY
    assert server.ranges() == ranges


def test_a_part_longer_than_the_file_starts_over(server: Server, fetched: Fetched) -> None:
    server.faults = [Fault(drop_after=1000)] + [Fault(drop_after=0)] * MAX_TRIES
    with pytest.raises(DownloadError):
        fetched()
    with fetched.part.open("ab") as part:
        part.write(BODY)
    assert fetched() == BODY


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault(no_length=True), "does not say how long the file is"),
        (Fault(headers={"Content-Encoding": "gzip"}), "came compressed on the way"),
    ],
    ids=["no length", "compressed"],
)
def test_answers_that_are_refused(server: Server, fetched: Fetched, fault: Fault, reason: str) -> None:
    server.faults = [fault]
    with pytest.raises(DownloadError, match=reason):
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


def test_no_server_answers(tmp_path: Path) -> None:
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
