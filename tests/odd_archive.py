"""An archive whose files have names of every odd kind."""

from __future__ import annotations

import os
from pathlib import Path

from tests.service.tiny_bundle import dark_square, picture_bytes

ODD_NAMES = [
    b"  lead.jpg",
    b"tab\there.jpg",
    b"new\nline.jpg",
    b"cr\rhere.jpg",
    b"crlf\r\n.jpg",
    b"=1+1.jpg",
    b'=HYPERLINK("http:x","y").jpg',
    b"--out.jpg",
    b'dq".jpg',
    b"comma,semi;.jpg",
    b"back\\slash.jpg",
    b"[bold]red.jpg",
    b"\x1b[31mred\x1b[0m.jpg",
    b"%s%n.jpg",
    b"a%20b.jpg",
    b"a b.jpg",
    b"latin1-\xe9.jpg",
    b"\xff\xfe.jpg",
    "日本語.jpg".encode(),
    "\u2028ls.jpg".encode(),
    "\u0085nel.jpg".encode(),
    "\ufeffbom.jpg".encode(),
    b'"picture": "x".jpg',
    b"a" * 251 + b".jpg",
]
_LONGEST_NAME = 255  # bytes


def write_odd_archive(folder: Path, num: int) -> None:
    """``num`` different images: one of each name, then with numbers before it, in folders with odd names."""
    for i in range(num):
        below, name = folder, ODD_NAMES[i % len(ODD_NAMES)]
        if turn := i // len(ODD_NAMES):
            below = folder / os.fsdecode(ODD_NAMES[turn % len(ODD_NAMES)].replace(b".jpg", b""))
            name = b"%d" % turn + name[-(_LONGEST_NAME - 4) :]
        below.mkdir(parents=True, exist_ok=True)
        colour = (100 + i % 100, 20 + i // 100, 20)
        (below / os.fsdecode(name)).write_bytes(picture_bytes(dark_square(colour, start=i % 64), compress_level=1))
