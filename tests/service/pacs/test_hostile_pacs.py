"""What a PACS may answer that is no PACS, or not ours: every exchange ends, within its size and time, by name."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import ssl
import subprocess
import tracemalloc
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from service.pacs.client import Instance, Pacs, PacsAway, PacsError, PacsRefused
from tests.service.pacs.hostile_pacs import HostilePacs, Script, answer, endless, hostile

INSTANCE = Instance("2.25.1", "2.25.2", "2.25.3", "1.2.840.10008.5.1.4.1.1.77.1.7", 1)
MULTIPART = 'multipart/related; type="application/dicom"; boundary=edge'
PART = b"--edge\r\nContent-Type: application/dicom\r\n\r\n"
MAX_BYTES, SECONDS = 10**6, 0.5

Call = Callable[[Pacs], Awaitable[Any]]


async def search(pacs: Pacs) -> list[Instance]:
    return [instance async for page in pacs.search({"Modality": "DMS"}) for instance in page]


async def retrieve(pacs: Pacs) -> bytes:
    return await pacs.retrieve(INSTANCE)


async def store(pacs: Pacs) -> None:
    await pacs.store("2.25.1", [b"result" * 1000])


async def present(pacs: Pacs) -> set[str]:
    return await pacs.present("2.25.1", ["2.25.9"])


CALLS: dict[str, Call] = {"search": search, "retrieve": retrieve, "store": store, "present": present}


def asked(call: Call, respond: Callable[[str], Script], **options: Any) -> tuple[Any, HostilePacs]:
    """What the call gives, or raises, and the PACS."""

    async def run() -> tuple[Any, HostilePacs]:
        async with hostile(respond, options.get("tls")) as server:
            pacs = Pacs(server.url, ("watcher", "open sesame"), max_file_bytes=MAX_BYTES, timeout_seconds=SECONDS)
            async with pacs:
                try:
                    return await call(pacs), server
                except PacsError as error:
                    return error, server

    return asyncio.run(run())


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("content_type", [MULTIPART, "application/dicom+json"], ids=["multipart", "JSON"])
def test_gigabytes_are_not_taken(call: Call, content_type: str) -> None:
    tracemalloc.start()
    error, server = asked(call, lambda _: endless(PART, b"[" * 65_536, content_type))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(error, PacsError)
    # What was sent is in the buffers of sockets besides.
    assert server.num_bytes < 20e6
    assert peak < 30e6


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_an_answer_that_drips_ends_with_its_time(call: Call) -> None:
    def drip(_: str) -> Script:
        yield answer(b" " * 100_000)[:-100_000]
        while True:
            yield b" "
            yield None

    error, _ = asked(call, drip)
    assert "did not answer within 0.5 s" in str(error)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_head_that_does_not_end_is_given_up(call: Call) -> None:
    def drip(_: str) -> Script:
        yield b"HTTP/1.1 200 OK\r\n"
        while True:
            yield b"X-Header: " + b"x" * 1000 + b"\r\n"

    error, server = asked(call, drip)
    assert isinstance(error, PacsError)
    assert server.num_bytes < 20e6


def test_many_parts_and_an_endless_part_are_refused() -> None:
    many = (PART + b"x\r\n") * 5000 + b"--edge--"
    error, _ = asked(retrieve, lambda _: [answer(many, content_type=MULTIPART)])
    assert "does not consist of one part" in str(error)
    error, _ = asked(retrieve, lambda _: endless(PART, b"x" * 65_536, MULTIPART))
    assert "more than 1,065,536 bytes" in str(error)


def test_a_small_answer_that_expands_is_refused() -> None:
    bomb = gzip.compress(PART + bytes(100_000_000))
    tracemalloc.start()
    error, server = asked(retrieve, lambda _: [answer(bomb, content_type=MULTIPART, Content_Encoding="gzip")])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "compresses" in str(error)
    assert peak < 5e6
    assert "accept-encoding: identity" in server.requests[0].lower()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_redirect_is_not_followed_and_the_password_goes_nowhere(call: Call, status: int) -> None:
    async def run() -> tuple[Exception, list[str], list[str]]:
        async with hostile(lambda _: [answer(b"[]")]) as other:
            place = other.url.replace("127.0.0.1", "localhost")
            redirect = answer(status=f"{status} Elsewhere", Location=f"{place}/instances")
            async with hostile(lambda _: [redirect]) as server:
                pacs = Pacs(server.url, ("watcher", "open sesame"), max_file_bytes=MAX_BYTES, timeout_seconds=SECONDS)
                async with pacs:
                    with pytest.raises(PacsError) as raised:
                        await call(pacs)
                return raised.value, server.requests, other.requests

    error, asked_here, asked_there = asyncio.run(run())
    assert "redirects" in str(error)
    assert base64.b64encode(b"watcher:open sesame").decode() in asked_here[0]
    assert asked_there == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"{}",
        b"null",
        b"3",
        b'"list"',
        b"[" * 100_000,
        b"\xff\xfe[]",
        b"[1" + b"0" * 10_000 + b"]",
        b'[{"0020000D": ',
    ],
)
def test_malformed_json_is_named_and_not_quoted(body: bytes) -> None:
    error, _ = asked(search, lambda _: [answer(body)])
    assert isinstance(error, PacsError)
    assert "<html>" not in str(error)


@pytest.mark.parametrize(
    "item",
    [
        None,
        [],
        "text",
        {},
        {"00080018": "text"},
        {"00080018": {"Value": "2.25.3"}},
        {"00080018": {"Value": []}},
        {"00080018": {"Value": [3]}},
        {"00080018": {"Value": ["../../../patients"]}},
        {"00080018": {"Value": ["2.25.3\n"]}},
        {"00080018": {"Value": ["2.25.3?x="]}},
        {"00080018": {"Value": ["2.25." + "3" * 60]}},
        {"00080018": {"Value": ["\u0662.25"]}},
    ],
)
def test_instances_without_valid_identifiers_are_left_out(item: Any) -> None:
    good = {tag: {"Value": [uid]} for tag, uid in (("0020000D", "2.25.1"), ("0020000E", "2.25.2"))}
    ours = {**good, "00080018": {"Value": ["2.25.3"]}}
    body = json.dumps([{**good, **item} if isinstance(item, dict) else item, ours]).encode()
    found, _ = asked(search, lambda path: [answer(body if "offset=0" in path else b"[]")])
    assert [instance.uid for instance in found] == ["2.25.3"]


def test_the_kind_of_an_instance_is_an_identifier_or_unknown() -> None:
    """It gets into the log, by the standard's name."""
    item = {tag: {"Value": ["2.25.1"]} for tag in ("0020000D", "0020000E", "00080018")}
    items = [{**item, "00080016": {"Value": ["Zaphod Quux"]}, "00280008": {"Value": ["Zaphod"]}}]
    found, _ = asked(search, lambda path: [answer(json.dumps(items).encode() if "offset=0" in path else b"[]")])
    assert found == [Instance("2.25.1", "2.25.1", "2.25.1", "", 1)]


def test_a_pacs_that_gives_the_same_page_for_ever_is_asked_twice() -> None:
    item = {tag: {"Value": ["2.25.1"]} for tag in ("0020000D", "0020000E", "00080018")}
    found, server = asked(search, lambda _: [answer(json.dumps([item]).encode())])
    assert len(found) == 1
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("401 Unauthorized", PacsRefused),
        ("403 Forbidden", PacsRefused),
        ("404 Not Found", PacsError),
        ("418 Teapot", PacsError),
        ("500 Internal Server Error", PacsError),
        ("503 Service Unavailable", PacsAway),
    ],
)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_errors_are_told_apart(call: Call, status: str, kind: type[PacsError]) -> None:
    error, _ = asked(call, lambda _: [answer(b"Zaphod", status)])
    assert type(error) is kind
    assert "Zaphod" not in str(error)


@pytest.mark.parametrize("body", [b"no", b"[]", b'{"00081198": {"Value": [{}]}}'])
def test_results_that_were_not_stored_are_noticed(body: bytes) -> None:
    error, _ = asked(store, lambda _: [answer(body)])
    assert isinstance(error, PacsError)


def test_what_is_no_http_is_an_error() -> None:
    error, _ = asked(search, lambda _: [b"SSH-2.0-OpenSSH\r\n\r\n"])
    assert isinstance(error, PacsError)
    error, _ = asked(search, lambda _: [answer(b"[]", Content_Length="5")[:-1]])
    assert isinstance(error, PacsError)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "pacs.example.org",
        "ftp://pacs.example.org",
        "file:///etc/passwd",
        "http://",
        "http://user:secret@pacs.example.org/dicom-web",
        "http://pacs.example.org/dicom-web?key=secret",
        "http://pacs.example.org/dicom-web#x",
        "http://[::1",
        "http://pacs.example.org:port",
    ],
)
def test_an_address_that_cannot_be_one_is_refused(url: str) -> None:
    with pytest.raises(PacsRefused) as raised:
        Pacs(url, max_file_bytes=MAX_BYTES, timeout_seconds=SECONDS)
    assert "secret" not in str(raised.value)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that no authority has signed, with its key."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=pacs"]
    place = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(path), "-out", f"{path}.crt"]
    subprocess.run([*command, *place], check=True, capture_output=True)
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


def test_a_certificate_counts_when_it_is_trusted_and_only_then(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    error, server = asked(search, lambda _: [answer(b"[]")], tls=tls)
    assert type(error) is PacsRefused
    assert "SSL_CERT_FILE" in str(error)
    assert server.requests == []
    monkeypatch.setenv("SSL_CERT_FILE", f"{certificate}.crt")
    assert asked(search, lambda _: [answer(b"[]")], tls=tls)[0] == []


def test_passwords_and_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("default login someone password else\n")
    for name, value in {"NETRC": str(tmp_path / "netrc"), "HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": ""}.items():
        monkeypatch.setenv(name, value)

    async def run() -> list[str]:
        async with hostile(lambda _: [answer(b"[]")]) as server:
            async with Pacs(server.url, max_file_bytes=MAX_BYTES, timeout_seconds=SECONDS) as pacs:
                await search(pacs)
            return server.requests

    assert not [line for head in asyncio.run(run()) for line in head.splitlines() if line.startswith("Authorization")]


def test_a_pacs_that_is_away_is_named() -> None:
    async def run() -> None:
        async with Pacs("http://127.0.0.1:9", max_file_bytes=MAX_BYTES, timeout_seconds=SECONDS) as pacs:
            await search(pacs)

    with pytest.raises(PacsAway):
        asyncio.run(run())
