"""A refusal names what the file is, and how to make a picture of it."""

from __future__ import annotations

import io
import zipfile

import pytest
from PIL import Image

from service.imaging import UndecodablePicture, UnsupportedPicture
from service.imaging.kinds import costly, damaged, format_of
from tests.service.tiny_bundle import dark_square, picture_bytes


def media(major: bytes, *compatible: bytes) -> bytes:
    """The beginning of an ISO base media file."""
    brands = major + bytes(4) + b"".join(compatible)
    return (8 + len(brands)).to_bytes(4, "big") + b"ftyp" + brands + b"\0\0\0\x08meta" + b"avif" * 9


def archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as written:
        written.writestr("a.jpg", b"")
    return file.getvalue()


JPEG = picture_bytes(dark_square(), "JPEG")

OTHERS = {
    "HEIC photo": [media(b"heic", b"mif1"), media(b"mif1", b"heic"), media(b"heix"), media(b"msf1", b"hevc")],
    "HEIF photo": [media(b"mif1", b"miaf")],
    "AVIF": [media(b"avif", b"mif1"), media(b"mif1", b"avif", b"miaf"), media(b"avis")],
    "raw file": [
        media(b"crx "),
        b"FUJIFILMCCD-RAW 0201",
        b"IIU\0" + bytes(20),
        b"IIRO" + bytes(20),
        b"FOVb" + bytes(20),
    ],
    "video": [media(b"isom"), media(b"qt  "), media(b"mp42", b"isom"), b"RIFF" + bytes(4) + b"AVI LIST"],
    "JPEG XL": [b"\xff\x0a" + bytes(20), b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(20)],
    "JPEG 2000": [b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(20), b"\xff\x4f\xff\x51" + bytes(20)],
    "JPEG XR": [b"II\xbc\x01" + bytes(20)],
    "GIF": [picture_bytes(Image.new("L", (40, 40)), "GIF")],
    "DICOM": [bytes(128) + b"DICM" + bytes(20)],
    "PDF": [b"%PDF-1.7\n"],
    "PostScript": [b"%!PS-Adobe-3.0"],
    "Photoshop": [b"8BPS" + bytes(20)],
    "ZIP": [archive()],
    "web page": [b"<html></html>", b"\xef\xbb\xbf\n <svg/>"],
    "text": [b"hello", b"BMW is text, too, and no bitmap"],
    "bytes that are not its own": [b"\r\n" + JPEG],
    "no kind": [bytes(100), b"\x01\x02", b"BM" + bytes(40)],
}


@pytest.mark.parametrize("name", OTHERS)
def test_every_other_kind_is_named_with_a_way_out(name: str) -> None:
    for data in OTHERS[name]:
        with pytest.raises(UnsupportedPicture, match=name) as refused:
            format_of(data)
        assert "takes JPEG, PNG, WebP, TIFF or BMP" in str(refused.value)
        assert any(verb in str(refused.value) for verb in ("save", "export", "send"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
def test_accepted_formats_are_recognised_by_their_first_bytes(kind: str) -> None:
    data = picture_bytes(dark_square(), kind)
    assert format_of(data) == format_of(data[:32]) == kind


def test_what_is_wrong_with_an_accepted_format_names_it() -> None:
    data = picture_bytes(dark_square(), "WEBP")
    assert isinstance(damaged(data), UndecodablePicture)
    assert "WebP" in str(damaged(data))
    assert "WebP" in str(costly(data))
