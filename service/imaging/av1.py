"""What AV1 data state of themselves, read before they are decoded (AV1 bitstream specification, 5.3 to 5.5)."""

from __future__ import annotations

from typing import NamedTuple

from service.imaging.kinds import Kind, refusal
from service.imaging.picture import TooManyParts

# Units of data; encoders write two or three for a still image.
_MOST_UNITS = 200
_SEQUENCE_HEADER, _FRAME_HEADER, _FRAME = 1, 3, 6
_MOST_PROFILE = 2
_SRGB_WITHOUT_MATRIX = (1, 13, 0)


class Codes(NamedTuple):
    """Colours by the codes of ITU-T H.273; 2 says nothing."""

    primaries: int
    transfer: int
    matrix: int
    full_range: bool


class SequenceHeader(NamedTuple):
    """The largest size of a frame in pixels, the depth of a channel in bits, and colours."""

    profile: int
    size: tuple[int, int]
    depth: int
    is_grey: bool
    subsampling: tuple[bool, bool]  # whether chroma has half the columns, half the rows
    codes: Codes
    has_grain: bool  # film grain, which is synthesised after decoding


class _Bits:
    """Reads numbers, the highest bit first. Raises ``ValueError`` at the end."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data), 8 * len(data)

    def read(self, num: int = 1) -> int:
        self._left -= num
        if self._left < 0:
            raise ValueError("the header is cut off")
        return self._value >> self._left & ((1 << num) - 1)

    def skip_variable(self) -> None:
        """A number that is preceded by as many zeros as it has bits (uvlc)."""
        zeros = 0
        while not self.read():
            zeros += 1
        self.read(zeros if zeros < 32 else 0)


def sequence_header(data: memoryview) -> SequenceHeader:
    """That of a still image's data.

    Raises ``ValueError`` for data that are cut off, :class:`TooManyParts`, and :class:`UnsupportedPicture` for several
    frames: which one is shown depends on the decoder.
    """
    header, num_frames, at = None, 0, 0
    for _ in range(_MOST_UNITS):
        if at == len(data):
            break
        first = data[at]
        at += 2 if first & 4 else 1  # an extension
        length = len(data) - at
        if first & 2:
            length, at = _variable(data, at)
        if first & 0x80 or at + length > len(data):
            raise ValueError("no units of AV1 data")
        kind = first >> 3 & 15
        if kind == _SEQUENCE_HEADER:
            if header is not None:
                raise ValueError("two sequences")
            header = _read(_Bits(bytes(data[at : at + min(length, 1024)])))
        num_frames += kind in (_FRAME_HEADER, _FRAME)
        at += length
    else:
        raise TooManyParts("too many units of AV1 data")
    if header is None or num_frames == 0:
        raise ValueError("no image")
    if num_frames > 1:
        raise _layered()
    return header


def _layered() -> Exception:
    return refusal(Kind("an AVIF of several layers or frames", "save it as a plain AVIF or as JPEG"))


def _variable(data: memoryview, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and where it ends (leb128)."""
    value = 0
    for number in range(8):
        value |= (data[at + number] & 0x7F) << 7 * number
        if not data[at + number] & 0x80:
            return value, at + number + 1
    raise ValueError("no number")


def _read(bits: _Bits) -> SequenceHeader:
    read = bits.read
    if (profile := read(3)) > _MOST_PROFILE:
        raise ValueError("an unknown profile")
    read()  # whether it is a still image: other images may consist of one frame, too
    if not (is_reduced := read()):
        _skip_timing(bits)
    else:
        read(5)
    widths, heights = read(4) + 1, read(4) + 1
    size = read(widths) + 1, read(heights) + 1
    if not is_reduced and read():
        read(7)
    read(3)
    if not is_reduced:
        _skip_tools(bits)
    read(3)
    return SequenceHeader(profile, size, *_read_colours(bits, profile), has_grain=bool(read()))


def _skip_timing(bits: _Bits) -> None:
    read, delay_bits = bits.read, 0
    if read():
        read(64)
        if read():
            bits.skip_variable()
        if read():
            delay_bits = read(5) + 1
            read(42)
    has_delays = read()
    if read(5):
        raise _layered()
    read(12)
    if read(5) > 7:
        read()
    if delay_bits and read():
        read(2 * delay_bits + 1)
    if has_delays and read():
        read(4)


def _skip_tools(bits: _Bits) -> None:
    read = bits.read
    read(4)
    if has_order := read():
        read(2)
    screen = 2 if read() else read()
    if screen and not read():
        read()
    if has_order:
        read(3)


def _read_colours(bits: _Bits, profile: int) -> tuple[int, bool, tuple[bool, bool], Codes]:
    read = bits.read
    depth = 10 if read() else 8
    if profile == 2 and depth == 10 and read():
        depth = 12
    is_grey = profile != 1 and bool(read())
    codes = (read(8), read(8), read(8)) if read() else (2, 2, 2)
    if is_grey:
        return depth, True, (True, True), Codes(*codes, full_range=bool(read()))
    if codes == _SRGB_WITHOUT_MATRIX:
        full_range, columns, rows = True, False, False
    else:
        full_range, columns, rows = bool(read()), profile != 1, profile == 0
        if profile == 2 and depth == 12:
            columns = bool(read())
            rows = columns and bool(read())
        if rows:
            read(2)  # where chroma is
    read()  # whether blue and red have quantisers of their own
    return depth, False, (columns, rows), Codes(*codes, full_range=full_range)
