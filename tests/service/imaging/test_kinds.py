"""A refusal names what the file is, and how to make an image of it."""

from __future__ import annotations

import base64
import io
import tarfile
import zipfile
from typing import Literal

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


def packed(mode: Literal["w:", "w:gz", "w:bz2", "w:xz"]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as written:
        written.addfile(tarfile.TarInfo("a.jpg"))
    return file.getvalue()


JPEG = picture_bytes(dark_square(), "JPEG")
PNG = picture_bytes(dark_square(), "PNG")
TGA = picture_bytes(dark_square(), "TGA")

OTHERS = {
    "HEIC photo": [media(b"heic", b"mif1"), media(b"mif1", b"heic"), media(b"heix"), media(b"msf1", b"hevc")],
    "HEIF photo": [media(b"mif1", b"miaf")],
    "AVIF animation": [media(b"avis"), media(b"avif", b"avis"), media(b"avis", b"avif", b"mif1")],
    "raw file": [
        media(b"crx "),
        b"FUJIFILMCCD-RAW 0201",
        b"IIU\0" + bytes(20),
        b"IIRO" + bytes(20),
        b"FOVb" + bytes(20),
        b"IIRS" + bytes(20),
        b"MMOR" + bytes(20),
        b"\0MRM" + bytes(20),
        b"II\x1a\0\0\0HEAPCCDR" + bytes(20),
    ],
    "video": [
        *(media(b"isom"), media(b"qt  "), media(b"mp42", b"isom"), b"RIFF" + bytes(4) + b"AVI LIST"),
        *(bytes(4) + box + bytes(20) for box in (b"moov", b"mdat", b"wide", b"free", b"skip")),
        b"\0\0\1\xb3" + bytes(20),
        *(start + bytes(20) for start in (b"\x1aE\xdf\xa3", b"\0\0\1\xba", b"FLV\1", b"0&\xb2u\x8ef\xcf\x11")),
    ],
    "JPEG XL": [b"\xff\x0a" + bytes(20), b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(20)],
    "JPEG 2000": [b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(20), b"\xff\x4f\xff\x51" + bytes(20)],
    "JPEG XR": [b"II\xbc\x01" + bytes(20)],
    "GIF": [picture_bytes(Image.new("L", (40, 40)), "GIF")],
    "DICOM": [
        b"\x08\0\x05\0CS\x0a\0ISO_IR 100",
        b"\x08\0\0\0\4\0\0\0\x92\0\0\0",
        b"\x02\0\0\0UL\4\0\xc0\0\0\0",
        b"\x02\0\x10\0UI\x16\0001.2.840",
        b"\x08\0\x05\0\x0a\0\0\0ISO_IR 100",
        b"\0\x08\0\x05CS\0\x0aISO_IR 100",
    ],
    "Targa": [TGA, TGA.removesuffix(TGA[-26:])],
    "PCX": [picture_bytes(dark_square(), "PCX")],
    "QOI": [b"qoif\0\0\0\x40\0\0\0\x40\3\0"],
    "metafile": [b"\1\0\0\0" + bytes(36) + b" EMF", b"\xd7\xcd\xc6\x9a" + bytes(30), b"\1\0\x09\0\0\3" + bytes(20)],
    "MNG": [b"\x8aMNG\r\n\x1a\n" + bytes(20)],
    "JNG": [b"\x8bJNG\r\n\x1a\n" + bytes(20)],
    "NIfTI": [b"\x5c\1" + bytes(342) + b"n+1\0", b"\x1c\2\0\0n+2\0\r\n\x1a\n" + bytes(20)],
    "HDF5": [b"\x89HDF\r\n\x1a\n" + bytes(20)],
    "archive": [
        packed("w:"),
        packed("w:gz"),
        packed("w:bz2"),
        packed("w:xz"),
        b"Rar!\x1a\7",
        b"7z\xbc\xaf\x27\x1c",
        b"\x28\xb5\x2f\xfd",
    ],
    "as if it were text": [
        PNG.replace(b"\r\n", b"\n"),
        PNG.replace(b"\n", b"\r\n"),
        bytes(byte & 0x7F for byte in PNG),
        JPEG.decode(errors="replace").encode(),
        PNG.decode(errors="replace").encode(),
        JPEG.decode("latin-1").encode(),
        PNG.decode("latin-1").encode(),
    ],
    "OpenEXR": [b"v/1\1" + bytes(20)],
    "Radiance": [b"#?RADIANCE\n"],
    "FITS": [b"SIMPLE  =                    T"],
    "icon": [b"\0\0\1\0\1\0" + bytes(20)],
    "Netpbm": [b"P6\n1 1\n255\n", b"P3 1 1 255 0 0 0"],
    "Office": [b"\xd0\xcf\x11\xe0" + bytes(20)],
    "RTF": [b"{\\rtf1\\ansi{\\pict"],
    "PDF": [b"%PDF-1.7\n"],
    "PostScript": [b"%!PS-Adobe-3.0", b"\xc5\xd0\xd3\xc6" + bytes(20)],
    "Photoshop": [b"8BPS" + bytes(20)],
    "GIMP": [b"gimp xcf v011"],
    "DjVu": [b"AT&TFORM" + bytes(20)],
    "microscope": [b"ZISRAWFILE" + bytes(20)],
    "DDS": [b"DDS \x7c" + bytes(20)],
    "SGI": [picture_bytes(dark_square(), "SGI")],
    "Sun": [b"\x59\xa6\x6a\x95" + bytes(20)],
    "ZIP": [archive()],
    "web page": [b"<html></html>", b"\xef\xbb\xbf\n <svg/>"],
    "text": [
        b"hello",
        "Muttermal, rechts: \u4e2d\u6587".encode(),
        "\u0440\u043e\u0434\u0438\u043d\u043a\u0430".encode(),
        b"caf\xe9",
        b"BMW is text, too, and no bitmap",
        "hello".encode("utf-16"),
        b"\xfe\xff" + "hi".encode("utf-16-be"),
    ],
    "text \\(base64\\)": [base64.b64encode(JPEG), b"data:image/png;base64," + base64.b64encode(PNG)],
    "file of zeros": [bytes(100)],
    "Mac's notes": [b"\0\5\x16\7" + bytes(100)],
    "bytes that are not its own": [b"\r\n" + JPEG],
    "no kind": [
        b"\xff\xd8",
        b"\xff" * 100,
        b"\x01\x02",
        b"BM" + bytes(40),
        b"\0\0\2" + bytes(20),
        b"\xff\xfe\1\2\3",
        b"\x08\0" + bytes(20),
    ],
}


@pytest.mark.parametrize("name", OTHERS)
def test_every_other_kind_is_named_with_a_way_out(name: str) -> None:
    for data in OTHERS[name]:
        with pytest.raises(UnsupportedPicture, match=name) as refused:
            format_of(data)
        assert "takes JPEG, PNG, WebP, TIFF, BMP, AVIF or DICOM" in str(refused.value)
        assert any(verb in str(refused.value) for verb in ("save", "export", "send"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "AVIF"])
def test_accepted_formats_are_recognised_by_their_first_bytes(kind: str) -> None:
    data = picture_bytes(dark_square(), kind)
    assert format_of(data) == format_of(data[:32]) == kind


@pytest.mark.parametrize(
    "brands", [(b"avif", b"mif1"), (b"mif1", b"avif", b"miaf"), (b"mif1", b"miaf", b"avif", b"heic")]
)
def test_avif_is_recognised_by_any_of_its_brands(brands: tuple[bytes, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    assert format_of(media(*brands)) == "AVIF"
    monkeypatch.setattr("service.imaging.kinds.READS_AVIF", False)
    with pytest.raises(UnsupportedPicture, match=r"an AVIF image, which this installation cannot read: .* JPEG"):
        format_of(media(*brands))


@pytest.mark.parametrize("preamble", [bytes(128), b"II*\0\x54".ljust(128, b"\0"), b"MM\0*".ljust(128, b"\0")])
def test_dicom_is_recognised_behind_any_preamble(preamble: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    assert format_of(preamble + b"DICM") == "DICOM"
    monkeypatch.setattr("service.imaging.kinds.READS_DICOM", False)
    with pytest.raises(UnsupportedPicture, match=r"a DICOM file: .*\[dicom\]"):
        format_of(preamble + b"DICM")


def test_what_is_wrong_with_an_accepted_format_names_it() -> None:
    data = picture_bytes(dark_square(), "WEBP")
    assert isinstance(damaged(data), UndecodablePicture)
    assert "WebP" in str(damaged(data))
    assert "WebP" in str(costly(data))
