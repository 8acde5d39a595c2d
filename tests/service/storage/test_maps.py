"""Maps come back as they were, and nothing else comes back as maps."""

from __future__ import annotations

import io
import struct
import time
import zipfile
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from service.attention.overlay import AttentionMaps, MapKind, OverlayOptions, render
from service.prediction.attention_summary import summarise
from service.storage.maps import DamagedMaps, pack_maps, unpack_maps

MAPS = AttentionMaps(
    frame=np.arange(192, dtype=np.uint8).reshape(8, 8, 3),
    width=640,
    height=480,
    crop_box=np.array([0.0, 0.2, 0.8, 1.0], np.float32),
    lesion=np.arange(16, dtype=np.uint8).reshape(4, 4),
    spatial=np.ones((2, 2, 3), np.float32),
    correlation=np.zeros((2, 6, 6), np.float32),
)


def npz(*, compressed: bool = False, **changes: Any) -> bytes:
    """An archive of the maps above, with other arrays or without some."""
    with np.load(io.BytesIO(pack_maps(MAPS)), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    kept = {name: array for name, array in (arrays | changes).items() if array is not None}
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **kept)
    return buffer.getvalue()


def archive_of(members: dict[str, bytes], kind: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", kind) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def header(shape: str, dtype: str = "|u1") -> bytes:
    """An array's file that ends after its header."""
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) + 1) + text.encode() + b"\n"


def directory(num: int) -> bytes:
    """An archive whose directory has many members that are not there."""
    member = struct.pack("<4s4B4HL2L5H2L", b"PK\x01\x02", 20, 3, 20, *[0] * 8, 1, *[0] * 6) + b"a"
    return member * num + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 65535, 65535, len(member) * num, 0, 0)


@pytest.mark.parametrize("maps", [MAPS, replace(MAPS, correlation=None), replace(MAPS, spatial=None, correlation=None)])
def test_maps_come_back_the_same(maps: AttentionMaps) -> None:
    back = unpack_maps(pack_maps(maps))
    for field in fields(AttentionMaps):
        np.testing.assert_array_equal(getattr(back, field.name), getattr(maps, field.name))


NAN, INFINITE = np.float32("nan"), np.float32("inf")
BOX, SPATIAL = MAPS.crop_box, np.ones((2, 2, 3), np.float32)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not an archive",
        pack_maps(MAPS)[:-30],
        pack_maps(MAPS)[30:],
        pack_maps(MAPS).replace(b"\x07\x08\x09", b"\x07\x09\x09"),
        npz(compressed=True),
        npz(frame=None),
        npz(size=None),
        npz(crop_box=None),
        npz(lesion=None),
        npz(spatial=None),
        npz(frame=MAPS.frame.astype(np.float32)),
        npz(frame=MAPS.frame[:4]),
        npz(frame=MAPS.frame[..., :1]),
        npz(frame=np.zeros((0, 0, 3), np.uint8)),
        npz(frame=np.array(3, np.uint8)),
        npz(frame=np.array([{}], dtype=object)),
        npz(lesion=MAPS.lesion[None]),
        npz(lesion=MAPS.lesion.astype(np.int16)),
        npz(size=np.array([640, 0])),
        npz(size=np.array([640, -480])),
        npz(size=np.array([640])),
        npz(size=np.array([640.0, 480.0])),
        npz(crop_box=np.array([0.1, 0.2, 0.8, NAN])),
        npz(crop_box=BOX.astype(np.float64)),
        npz(crop_box=BOX[[2, 1, 0, 3]]),
        npz(crop_box=np.array([0.1, 0.2, 1.5, 0.9], np.float32)),
        npz(crop_box=np.array([0.1, 0.2, NAN, 0.9], np.float32)),
        npz(crop_box=np.array([0.1, 0.2, 0.1, 0.9], np.float32)),
        npz(spatial=SPATIAL * NAN),
        npz(spatial=SPATIAL * INFINITE),
        npz(spatial=-SPATIAL),
        npz(spatial=SPATIAL * np.float32(3e38)),
        npz(spatial=SPATIAL[:1]),
        npz(spatial=SPATIAL[0]),
        npz(spatial=np.zeros((2, 0, 3), np.float32), correlation=None),
        npz(spatial=SPATIAL.astype(np.complex64)),
        npz(correlation=np.zeros((2, 6, 5), np.float32)),
        npz(correlation=np.full((2, 6, 6), NAN)),
        archive_of({"frame.npy": b"\0" * 50_000_000}, zipfile.ZIP_DEFLATED),
        archive_of({"frame.npy": header("(100000, 100000, 3)")}),
        archive_of({"frame.npy": header("(-1, 8, 3)")}),
        archive_of({"frame.npy": header("(10**9,)")}),
        archive_of({"frame.npy": header("(4, 4)", "|O")}),
        archive_of({"frame.npy": header("(9,)", "|V0")}),
        archive_of({"frame.npy": header("(" * 500 + ")" * 500)}),
        bytes(17 * 2**20),
    ],
    ids=lambda data: f"{len(data)} bytes",
)
def test_everything_else_is_refused_without_being_unpacked(data: bytes) -> None:
    began = time.monotonic()
    with pytest.raises(DamagedMaps):
        unpack_maps(data)
    assert time.monotonic() - began < 1


def test_a_directory_of_many_members_costs_nothing() -> None:
    began = time.monotonic()
    with pytest.raises(DamagedMaps):
        unpack_maps(directory(300_000))
    assert time.monotonic() - began < 0.5


@pytest.mark.parametrize("value", [0, 1e-40, 1, 1e6])
@pytest.mark.parametrize("box", [(0, 0, 1e-30, 1), (0.9999, 0.9999, 1, 1)])
def test_what_passes_for_maps_can_be_drawn_and_summarised(value: float, box: tuple[float, ...]) -> None:
    maps = AttentionMaps(
        frame=np.zeros((1, 1, 3), np.uint8),
        width=2**62,
        height=1,
        crop_box=np.array(box, np.float32),
        lesion=np.full((1, 1), 255 * (value > 0), np.uint8),
        spatial=np.full((2, 1, 5), value, np.float32),
        correlation=np.full((2, 5, 5), value, np.float32),
    )
    back = unpack_maps(pack_maps(maps))
    kinds: tuple[MapKind, ...] = ("lesion", "spatial", "correlation")
    for kind in kinds:
        for options in (OverlayOptions(kind=kind), OverlayOptions(kind=kind, view="crop")):
            assert render(back, options).shape[2] == 3
            assert 0 <= summarise(back, options).share <= 1
