"""Messages of several DICOM files."""

from __future__ import annotations

import email

import pytest

from service.pacs.multipart import MultipartError, joined, only_part

FILE = bytes(128) + b"DICM" + bytes(range(256)) + b"\r\n--\r\n\r\n"
KIND = 'multipart/related; type="application/dicom"; boundary=edge'


def message(*parts: bytes, end: bytes = b"\r\n--edge--\r\n") -> bytes:
    return b"\r\n".join(b"--edge\r\nContent-Type: application/dicom\r\n\r\n" + part for part in parts) + end


def test_pythons_own_parser_finds_the_files() -> None:
    kind, body = joined([FILE, FILE[::-1]])
    parsed = email.message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
    assert parsed.get_content_type() == "multipart/related"
    assert [part.get_content_type() for part in parsed.walk()][1:] == ["application/dicom"] * 2
    assert body.count(FILE) == body.count(FILE[::-1]) == 1


@pytest.mark.parametrize("file", [FILE, b"", b"\r\n", b"--edge"])
def test_what_is_joined_is_found_again(file: bytes) -> None:
    assert only_part(*joined([file])) == file


def test_text_around_the_part_and_more_headers_do_not_matter() -> None:
    body = b"hello\r\n--edge\r\nMIME-Version: 1.0\r\ncontent-type:application/dicom\r\n\r\n" + FILE + b"\r\n--edge--bye"
    assert only_part('Multipart/Related; boundary="edge"', body) == FILE


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/dicom", FILE),
        ("", message(FILE)),
        ("multipart/related", message(FILE)),
        ("text/html; boundary=edge", message(FILE)),
        (KIND, b""),
        (KIND, message()),
        (KIND, message(FILE, FILE)),
        (KIND, message(FILE, end=b"")),
        (KIND, message(FILE, end=b"\r\n--edge\r\n")),
        (KIND, b"\r\n--edge" * 100_000),
        (KIND, b"--edge\r\nContent-Type: application/dicom\r\n" + FILE[:300] + b"\r\n--edge--"),
        (KIND, message(FILE).replace(b"application/dicom", b"text/html")),
        ('multipart/related; boundary="\xff\u20ac"', message(FILE)),
    ],
)
def test_other_messages_are_refused(kind: str, body: bytes) -> None:
    with pytest.raises(MultipartError):
        only_part(kind, body)
