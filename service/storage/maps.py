"""Attention maps to bytes and back; bytes from a store are checked, because it may be damaged or written by others."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.attention.overlay import AttentionMaps

# Ten times a record of the largest networks; also the smallest allowed budget of all records.
MAX_BYTES = 16 * 2**20

_NPY_VERSION = (1, 0)
# The signature of an entry of the archive's directory. Reading a directory of many entries takes seconds.
_MEMBER_SIGNATURE, _MOST_SIGNATURES = b"PK\x01\x02", 64


class DamagedMaps(ValueError):  # noqa: N818 - named for the state
    """The bytes are not attention maps."""


def pack_maps(maps: AttentionMaps) -> bytes:
    """Maps as the bytes of an uncompressed ``.npz`` archive."""
    arrays: dict[str, Any] = {
        "frame": maps.frame,
        "size": np.array([maps.width, maps.height]),
        "crop_box": maps.crop_box,
        "lesion": maps.lesion,
        "spatial": maps.spatial,
        "correlation": maps.correlation,
    }
    buffer = io.BytesIO()
    np.savez(buffer, **{name: array for name, array in arrays.items() if array is not None})
    return buffer.getvalue()


def unpack_maps(data: bytes) -> AttentionMaps:
    """The maps from :func:`pack_maps`, as read-only arrays. Raises :class:`DamagedMaps` for any other bytes.

    Never allocates more than ``data`` has bytes, and unpickles nothing.
    """
    try:
        arrays = _read_arrays(data)
        size = arrays["size"]
        _require(size.dtype == np.int64 and size.shape == (2,) and bool((size > 0).all()))
        maps = AttentionMaps(
            frame=arrays["frame"],
            width=int(size[0]),
            height=int(size[1]),
            crop_box=arrays["crop_box"],
            lesion=arrays["lesion"],
            spatial=arrays.get("spatial"),
            correlation=arrays.get("correlation"),
        )
        _check(maps)
    except DamagedMaps:
        raise
    # For malformed bytes zipfile and NumPy raise many types.
    except Exception as error:
        raise DamagedMaps(f"no attention maps ({type(error).__name__})") from error
    return maps


def _read_arrays(data: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of an archive. ``numpy.load`` would allocate whatever size the archive states."""
    _require(len(data) <= MAX_BYTES and data.count(_MEMBER_SIGNATURE) <= _MOST_SIGNATURES)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        # Also refuses overlapping members, each of which could be as large as the file.
        _require(sum(member.file_size for member in members) <= len(data))
        _require(all(member.compress_type == zipfile.ZIP_STORED for member in members))
        return {member.filename.removesuffix(".npy"): _read_array(archive.read(member)) for member in members}


def _read_array(data: bytes) -> NDArray[Any]:
    stream = io.BytesIO(data)
    _require(np.lib.format.read_magic(stream) == _NPY_VERSION)
    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    return np.frombuffer(data, dtype, offset=stream.tell()).reshape(shape, order="F" if is_fortran else "C")


def _check(maps: AttentionMaps) -> None:
    """Check shapes and types, that the box is within the image, and that the values are possible."""
    side = maps.frame.shape[0]
    _require(maps.frame.dtype == np.uint8 and maps.frame.shape == (side, side, 3) and side > 0)
    side = maps.lesion.shape[0]
    _require(maps.lesion.dtype == np.uint8 and maps.lesion.shape == (side, side) and side > 0)
    _require(maps.crop_box.dtype == np.float32 and maps.crop_box.shape == (4,))
    x0, y0, x1, y1 = maps.crop_box.tolist()
    _require(0.0 <= x0 < x1 <= 1.0 and 0.0 <= y0 < y1 <= 1.0)
    if maps.spatial is not None:
        _require(maps.spatial.ndim == 3 and _is_attention(maps.spatial, (2, *maps.spatial.shape[1:])))
    if maps.correlation is not None:
        _require(maps.spatial is not None)
        num = 0 if maps.spatial is None else maps.spatial[0].size
        _require(_is_attention(maps.correlation, (2, num, num)))


def _is_attention(values: NDArray[Any], shape: tuple[int, ...]) -> bool:
    right = values.dtype == np.float32 and values.shape == shape and values.size > 0
    # NaN gives False. Sums of larger values overflow; a network's are below 1.
    return right and bool(((values >= 0) & (values <= 1e6)).all())


def _require(condition: bool) -> None:
    if not condition:
        raise DamagedMaps("no attention maps, or damaged ones")
