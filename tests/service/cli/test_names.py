"""Any file name in a cell, a line and on a terminal, and back."""

from __future__ import annotations

import csv
import io
import os
from urllib.parse import unquote

import pandas
import pytest

from service.cli.names import as_written_now, printable, to_path, to_text

PLAIN = [
    "archive/ISIC_0000001.jpg",
    "with space.jpg",
    "Äther, 50%.jpg",
    "日本語.jpg",
    "👩‍⚕️.jpg",
    "a=b+c@d-e.jpg",
    "%s%n%zz.jpg",
    "back\\slash.jpg",
    '"quoted".jpg',
    "[bold]red[/bold] :smile:.jpg",
]
ENCODED = {
    b"new\nline.jpg": "new%0Aline.jpg",
    b"cr\rhere.jpg": "cr%0Dhere.jpg",
    b"tab\there.jpg": "tab%09here.jpg",
    b"\x1b[31mred.jpg": "%1B[31mred.jpg",
    b"\x7f.jpg": "%7F.jpg",
    b"caf\xe9.jpg": "caf%E9.jpg",
    b"\xff\xfe.jpg": "%FF%FE.jpg",
    "\u0085\u009b.jpg".encode(): "%C2%85%C2%9B.jpg",
    "\u2028ls.jpg".encode(): "%E2%80%A8ls.jpg",
    "\u202egpj.exe".encode(): "%E2%80%AEgpj.exe",
    b"=1+1.jpg": "%3D1+1.jpg",
    b"@SUM(A1).jpg": "%40SUM(A1).jpg",
    b"+1.jpg": "%2B1.jpg",
    b"-rf.jpg": "%2Drf.jpg",
    b"a;=1+1.jpg": "a;%3D1+1.jpg",
    "\uff1d1+1.jpg".encode(): "%EF%BC%9D1+1.jpg",
    b"scan%20001.jpg": "scan%2520001.jpg",
    b"%0A.jpg": "%250A.jpg",
    b"%\n%0A%%41\xe2%C2%85.jpg": "%%0A%250A%%2541%E2%25C2%2585.jpg",
}


@pytest.mark.parametrize("name", PLAIN)
def test_ordinary_names_stay_as_they_are(name: str) -> None:
    assert to_text(name) == name


@pytest.mark.parametrize(("name", "text"), ENCODED.items())
def test_others_are_percent_encoded(name: bytes, text: str) -> None:
    assert to_text(os.fsdecode(name)) == text


@pytest.mark.parametrize("name", [*ENCODED, *map(str.encode, PLAIN)])
def test_the_name_is_given_back(name: bytes) -> None:
    text = to_text(os.fsdecode(name))
    assert os.fsencode(unquote(text, errors="surrogateescape")) == name
    assert os.fsencode(to_path(text)) == name
    assert as_written_now(text) == text


def test_every_byte_and_pair_of_bytes() -> None:
    """None is written as another, and all of them make one table of one line each."""
    names = [bytes([a]) for a in range(1, 256)] + [bytes([a, b]) for a in range(1, 256) for b in range(1, 256)]
    texts = [to_text(os.fsdecode(name)) for name in names]
    assert len(set(texts)) == len(names)
    assert [os.fsencode(unquote(text, errors="surrogateescape")) for text in texts] == names
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([["picture", "n"], *zip(texts, range(len(texts)), strict=True)])
    assert len(table.getvalue().splitlines()) == 1 + len(names)
    read = pandas.read_csv(io.BytesIO(table.getvalue().encode()), keep_default_na=False, dtype=str)
    assert read["picture"].tolist() == texts


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("a.jpg", "a.jpg"),
        ("new\nline.jpg", "new%0Aline.jpg"),
        ("caf\udce9.jpg", "caf%E9.jpg"),
        ("scan%20001.jpg", "scan%2520001.jpg"),
    ],
)
def test_names_of_earlier_versions(before: str, now: str) -> None:
    assert as_written_now(before) == now


def test_messages_have_no_control_characters() -> None:
    assert printable("a=b: \x1b[31m\x07 is 50% of = \udce9") == "a=b: %1B[31m%07 is 50% of = %E9"
