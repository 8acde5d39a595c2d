"""What a BMP holds, read from its header before it is decoded."""

from __future__ import annotations

import struct

from service.imaging.kinds import Kind, refusal

_FILE_HEADER = 14
_UNCOMPRESSED, _BITFIELDS = 0, 3
_DEPTHS = (8, 16, 24, 32)
_WITH_ALPHA = 56  # bytes of the header
# Red, green, blue and alpha masks of 32 bits, and the others by depth.
_MASKS_32 = {
    (0xFF0000, 0xFF00, 0xFF, 0),
    (0xFF0000, 0xFF00, 0xFF, 0xFF000000),
    (0xFF, 0xFF00, 0xFF0000, 0xFF000000),
}
_MASKS = {
    (16, (0x7C00, 0x3E0, 0x1F)),
    (16, (0xF800, 0x7E0, 0x1F)),
    (24, (0xFF0000, 0xFF00, 0xFF)),
    *((32, masks) for masks in _MASKS_32),
}
_EMBEDDED = b"DEBM"


def check_bmp(data: bytes) -> None:
    """Raises :class:`UnsupportedPicture` for compressed files, few colours and unusual layouts. Damaged files pass."""
    try:
        pixels, size = struct.unpack_from("<II", data, 10)
        if size == 12:
            depth, compression = struct.unpack_from("<H", data, _FILE_HEADER + 10)[0], _UNCOMPRESSED
        else:
            depth, compression = struct.unpack_from("<HI", data, _FILE_HEADER + 14)
        masks = struct.unpack_from("<4I", data, _FILE_HEADER + 40) if compression == _BITFIELDS else ()
    except struct.error:
        return
    if pixels < _FILE_HEADER + size:
        raise refusal(Kind("a BMP whose pixels begin within its header", "save it again, as JPEG or as BMP"))
    if compression not in (_UNCOMPRESSED, _BITFIELDS):
        raise refusal(Kind("a compressed BMP", "save it as JPEG, or as BMP without compression"))
    if depth in (1, 2, 4):
        raise refusal(Kind(f"a BMP of {2**depth} colours", "save the photo itself as JPEG, or as BMP of 24 bits"))
    if depth not in _DEPTHS:
        raise refusal(Kind(f"a BMP of {depth} bits a pixel", "save it as JPEG, or as BMP of 24 bits"))
    if masks and depth != 32:
        masks = masks[:3]
    elif masks and size < _WITH_ALPHA:
        masks = (*masks[:3], 0)
    if masks and (depth, masks) not in _MASKS:
        raise refusal(Kind("a BMP with its channels in an unusual order", "save it as JPEG, or as BMP of 24 bits"))


def bmp_profile(data: bytes) -> bytes | None:
    """The ICC profile that a BMP of version 5 embeds."""
    if len(data) < _FILE_HEADER + 124 or data[14:18] != b"\x7c\0\0\0" or data[70:74] != _EMBEDDED:
        return None
    offset, size = struct.unpack_from("<II", data, _FILE_HEADER + 112)
    return data[_FILE_HEADER + offset :][:size]
