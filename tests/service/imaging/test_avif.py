"""AVIF: what its boxes may state, and what they may not cost."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.imaging import (
    CostlyPicture,
    PictureError,
    PictureLimits,
    PictureTooLarge,
    UndecodablePicture,
    UnsupportedPicture,
    read_picture,
)
from service.imaging.av1 import sequence_header
from service.imaging.avif import read_avif
from service.imaging.avif_decoder import decoding_bytes, load_avif, plain_avif
from service.imaging.decoder_pool import COSTLY
from tests.service.imaging.avif_bombs import ITEM, WITHIN, claiming, nested, replaced, too_many, with_larger_frame
from tests.service.imaging.avifs import (
    Item,
    auxc,
    avif,
    coded,
    encoded,
    full,
    grid,
    in_tiles,
    irot,
    nclx,
    with_units,
)
from tests.service.imaging.pictures import frame, scene
from tests.service.tiny_bundle import picture_bytes

SCENE = scene()
DATA = encoded(SCENE)


@pytest.mark.parametrize("size", [(33, 33), (47, 61), (64, 35), (101, 99), (255, 257)])
@pytest.mark.parametrize("chroma", ["444", "422", "420"])
def test_odd_sizes(size: tuple[int, int], chroma: str) -> None:
    pixels = scene(*size)
    shown = read_picture(encoded(pixels, pixelformat=chroma), 40)
    assert (shown.width, shown.height, shown.format) == (*size, "AVIF")
    assert np.abs(shown.frame - frame(picture_bytes(Image.fromarray(pixels), "PNG"))).mean() < 2


@pytest.mark.parametrize("size", [(128, 128), (100, 70), (64, 190), (65, 65)])
@pytest.mark.parametrize("chroma", ["444", "420"])
def test_tiles_are_put_together(size: tuple[int, int], chroma: str) -> None:
    pixels = scene(*size)
    if chroma == "420":  # whose tiles and images have even sides
        pixels = pixels[: size[1] // 2 * 2, : size[0] // 2 * 2]
    shown = read_picture(in_tiles(pixels, pixelformat=chroma), 40)
    assert (shown.height, shown.width) == pixels.shape[:2]
    assert np.abs(shown.frame - frame(picture_bytes(Image.fromarray(pixels), "PNG"))).mean() < 2


def test_turned_pictures_have_their_sides_exchanged() -> None:
    picture = read_picture(avif([coded(DATA, irot(1))]), 40)
    assert (picture.width, picture.height) == (44, 60)


def test_no_box_of_the_file_reaches_the_decoder() -> None:
    secret = Item(b"mime", b"a secret", [])
    data = avif([coded(DATA, full(b"infe", b"a secret")), secret])
    start, _, rest = plain_avif(read_avif(data), data).partition(b"mdat")
    assert b"secret" not in start
    assert rest.startswith(data)


@pytest.mark.parametrize("depth", [8, 10, 12])
@pytest.mark.parametrize("chroma", ["444", "422", "420"])
def test_headers_are_read_as_they_were_written(depth: int, chroma: str) -> None:
    pixels = SCENE if depth == 8 else SCENE.astype(np.uint16) << (depth - 8)
    options = {"bitspersample": depth, "pixelformat": chroma, "primaries": 9, "transfer": 16, "matrix": 9}
    header = sequence_header(memoryview(coded(encoded(pixels, **options)).data))
    columns, rows = header.subsampling
    assert (header.size, header.depth, header.codes) == ((60, 44), depth, (9, 16, 9, True))
    assert f"4{4 >> columns}{0 if rows else 4 >> columns}" == chroma
    assert not header.has_grain


def test_film_grain_is_noticed() -> None:
    with_grain = picture_bytes(Image.fromarray(SCENE), "AVIF", advanced={"film-grain-test": "1"})
    plain, grainy = (read_avif(data) for data in (DATA, with_grain))
    assert grainy.raster.header.has_grain
    assert decoding_bytes(grainy) > decoding_bytes(plain) * 0.9


def patched(data: bytes, name: bytes, place: int, content: bytes) -> bytes:
    """Other bytes in the first box of this name, at this place behind the name."""
    at = data.index(name) + 4 + place
    return data[:at] + content + data[at + len(content) :]


PLAIN = avif([ITEM])
TOO_MANY = too_many()


def patched_extents(num: int) -> bytes:
    """An image whose data are the whole file, several times."""
    length = len(WITHIN) + 8 * (num - 1)
    places = struct.pack(">HHHHH", 1, 1, 0, 0, num) + struct.pack(">II", 0, length) * num
    return replaced(b"iloc", full(b"iloc", b"\x44\0", places, version=1))


# Files that contradict themselves or end too early.
DAMAGED: dict[str, bytes] = {
    "a size that is not that of the data": patched(PLAIN, b"ispe", 4, struct.pack(">II", 64, 44)),
    "a large size that is not that of the data": patched(PLAIN, b"ispe", 4, struct.pack(">II", 6000, 6000)),
    "no size": avif([ITEM._replace(properties=[nclx(1, 13, 6)])]),
    "fewer tiles than stated": avif([grid(2, 2, (60, 44), [2, 2, 2]), ITEM]),
    "tiles of another size than the grid": avif([grid(1, 1, (200, 44), [2]), ITEM]),
    "tiles that differ": avif([grid(1, 2, (120, 44), [2, 3]), ITEM, coded(encoded(SCENE, pixelformat="420"))]),
    "a grid in itself": avif([grid(1, 1, (60, 44), [1])]),
    "a grid of grids": avif([grid(1, 1, (60, 44), [2]), grid(1, 1, (60, 44), [1])]),
    "alpha of another size": avif([ITEM, coded(encoded(SCENE[:40, :40, 0]), auxc(), auxl=[1])]),
    "no such primary item": avif([ITEM], primary=9),
    "data beyond the file": PLAIN[:-1],
    "an extent that ends at 2**64": patched(PLAIN, b"iloc", 16, b"\xff" * 8),
    "a property that is not there": patched(PLAIN, b"ipma", 11, b"\xff\xff"),
    "a box that is longer than its parent": patched(PLAIN, b"hdlr", -8, b"\x7f\xff\xff\xff"),
    "a box of no length in a parent": patched(PLAIN, b"hdlr", -8, b"\0\0\0\4"),
    "a box twice": PLAIN.replace(b"hdlr", b"pitm"),
    "data in another file": patched(PLAIN, b"iloc", 12, b"\0\1"),
    "data in another item": patched(PLAIN, b"iloc", 10, b"\0\2"),
    "more data than the file has": patched_extents(30),
    "no AV1 data": avif([ITEM._replace(data=bytes(100))]),
    "no sequence": avif([ITEM._replace(data=b"\x12\0")]),
    "metadata in metadata": nested(2_000),
    "two sequences": avif([ITEM._replace(data=with_units(ITEM.data, ITEM.data[2:3] + ITEM.data[4:14]))]),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_contradicts_itself_is_refused_before_it_is_decoded(name: str) -> None:
    with pytest.raises((ValueError, LookupError, struct.error)):
        read_avif(DAMAGED[name])
    with pytest.raises(PictureError, match=r"AVIF is truncated or corrupt|an AVIF with"):
        read_picture(DAMAGED[name], 32)


@pytest.mark.parametrize("side", [65, 4_000, 65_536])
def test_a_frame_that_is_larger_than_the_boxes_and_the_header_say(side: int) -> None:
    assert read_picture(with_larger_frame(64), 32).width == 64
    with pytest.raises(UndecodablePicture, match="AVIF is truncated or corrupt"):
        read_picture(with_larger_frame(side), 32)


def test_protected_pictures_are_named() -> None:
    with pytest.raises(UnsupportedPicture, match="encrypted"):
        read_picture(patched(PLAIN, b"infe", 6, b"\0\1"), 32)


def test_decoding_starts_no_thread() -> None:
    """A decoder process may not; threads of the native decoder live as long as the image."""
    data = in_tiles(scene(128, 128))
    before = len(list(Path("/proc/self/task").iterdir()))
    image = load_avif(read_avif(data), data)
    assert len(list(Path("/proc/self/task").iterdir())) == before
    assert image.size == (128, 128)


def test_a_file_cut_anywhere_is_damaged() -> None:
    for data in (PLAIN, WITHIN, in_tiles(scene(100, 70))):
        for end in range(32, len(data), 1 + len(data) // 700):
            with pytest.raises(UndecodablePicture, match="AVIF is truncated or corrupt"):
                read_picture(data[:end], 32)


def test_large_pictures_are_refused_before_they_are_decoded() -> None:
    with pytest.raises(PictureTooLarge, match="65536 x 65536 pixels"):
        read_picture(avif([claiming((65_536, 65_536))]), 32)
    with pytest.raises(PictureTooLarge, match="for a side"):
        read_picture(avif([claiming((31_000, 40))]), 32)
    with pytest.raises(CostlyPicture, match="AVIF"):
        read_picture(avif([claiming((8000, 5000))]), 32, PictureLimits(max_memory=COSTLY.memory_bytes))
    with pytest.raises(PictureTooLarge, match="65536 x 65536 pixels"):  # of which the boxes show a part
        read_picture(avif([grid(1, 1, (64, 64), [2]), claiming((65_536, 65_536))]), 32)


@pytest.mark.parametrize("what", TOO_MANY)
def test_more_of_anything_than_a_picture_needs_is_refused_at_once(what: str) -> None:
    data, began = TOO_MANY[what], time.process_time()
    with pytest.raises(UndecodablePicture, match=f"too many {what}"):
        read_picture(data, 32)
    assert time.process_time() - began < 5


def test_memory_is_estimated_for_what_is_decoded_and_not_for_what_is_shown() -> None:
    tile = coded(encoded(scene(96, 80)))
    shown = avif([grid(1, 1, (33, 33), [2]), tile])
    assert read_picture(shown, 32).width == 33
    assert decoding_bytes(read_avif(shown)) == decoding_bytes(read_avif(avif([tile])))
