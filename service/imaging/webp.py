"""What a WebP holds, read from its chunks before it is decoded."""

from __future__ import annotations

from service.imaging.picture import MissingData

# Encoders write runs of zeros for one shade only, up to 0.71 bytes for a block of 16 x 16 pixels.
_BLOCK = 256
_LEAST_GAP = 1024


def check_webp(data: bytes) -> None:
    """Raises :class:`MissingData` for pixels' data with a gap of zeros, as an interrupted download leaves it.

    Zeros decode to some image, as all bytes do: other damage is not found.
    """
    width, height = webp_size(data)
    gap = bytes(max(_LEAST_GAP, width * height // _BLOCK))
    position = 12
    while position < len(data):
        name, size = data[position : position + 4], int.from_bytes(data[position + 4 : position + 8], "little")
        position += 8
        if name in (b"VP8 ", b"VP8L") and data.find(gap, position, position + size) >= 0:
            raise MissingData("there is a gap")
        position += size + size % 2


def webp_size(data: bytes) -> tuple[int, int]:
    """Width and height that a WebP file states; zero for other files."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or len(data) < 30:
        return 0, 0
    match data[12:16]:
        case b"VP8X":
            return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
        case b"VP8L":
            bits = int.from_bytes(data[21:25], "little")
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        case _:
            bits = int.from_bytes(data[26:30], "little")
            return bits & 0x3FFF, bits >> 16 & 0x3FFF
