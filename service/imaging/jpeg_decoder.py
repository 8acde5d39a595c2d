"""Decode a JPEG, and find out whether data of some pixels are missing.

Codes have no count and no address: where some are missing or changed, the image goes on with those that follow, moved
and in other colours, until the last pixels have none or some are left over. libjpeg only warns, and Pillow drops its
warnings. Yet the decoder waits for more bytes where it has no code, and skips what it does not need. So it gets the
data up to a marker, and then a filling: it has to wait before the end of the data, and to skip the filling.
"""

from __future__ import annotations

from typing import Any

from PIL import Image, ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from service.imaging.jpeg import Jpeg, intervals
from service.imaging.picture import MissingData

# A byte of ones, which are no code: some 17 of them end a block or a part of one.
_ONES = b"\xff\0"
# The decoder reads up to eight bytes further than it needs.
_AHEAD = 8
# Bytes that it gets one by one: where it makes codes of them, it waits at one of them.
_SINGLE = 6
# Before a marker, some cameras write two needless bytes, others zeros or ones up to a round number of bytes.
_MOST_NEEDLESS, _PADDING, _MOST_PADDING = 2, b"\0\xff", 16
# Bytes of more blocks than the filling makes, whatever is in them: without them, a scan surely ends too early.
_NEEDED = 1024

_CODEC = "whole jpeg"


def load_jpeg(image: JpegImageFile, data: bytes, jpeg: Jpeg) -> None:
    """Load a JPEG that was opened from ``data``, to the same pixels as Pillow.

    Raises :class:`MissingData`, and ``OSError`` as Pillow does, also when the end mark is missing.
    """
    parts = intervals(data, jpeg)
    if not jpeg.frame.is_arithmetic:  # whose decoder does not wait
        (tile,) = image.tile
        arguments = tile.args if isinstance(tile.args, tuple) else (tile.args,)
        image.tile = [tile._replace(codec_name=_CODEC, args=(data, jpeg, parts, *arguments))]
    image.load()


class _Decoder(ImageFile.PyDecoder):
    """Pillow's decoder, which gets the data in parts."""

    _pulls_fd = True

    def init(self, args: tuple[Any, ...]) -> None:
        data, self._jpeg, self._intervals, *self._args = args
        self._data = memoryview(data)

    def decode(self, _: object) -> tuple[int, int]:
        """Decode all data; what Pillow's decoder answers at the end."""
        assert self.im is not None
        doubtful: list[int] = []
        decoder = self._decoder(self.im, *self._args)
        try:
            result = self._feed(decoder, doubtful)
        finally:
            decoder.cleanup()
        if doubtful and result[1] == 0:
            self._check_again(doubtful)
        return result

    def _decoder(self, im: Any, *args: object) -> Any:
        decoder: Any = Image._getdecoder(self.mode, "jpeg", args)
        decoder.setimage(im, (0, 0, *im.size))
        return decoder

    def _feed(self, decoder: Any, doubtful: list[int]) -> tuple[int, int]:
        position = 0
        for interval in self._intervals:
            start, end, waits = position, interval.end, False
            first = max(start, end - _MOST_PADDING)
            padded = first + len(bytes(self._data[first:end]).rstrip(_PADDING))
            for part in range(first, end + 1):
                used, error = decoder.decode(self._data[position:part])
                if used < 0:
                    if error == 0 and part < max(first + 1, padded - _MOST_NEEDLESS):
                        raise MissingData("data are left over")
                    return used, error
                position += used
                waits |= position < part
            if interval is self._intervals[-1] and not self._jpeg.has_end:
                break
            ended, lacks, _ = _fill(decoder, bytes(self._data[position:end]))
            if ended is not None:
                return ended
            if lacks:
                raise MissingData("data are missing")
            if not waits and not interval.is_refinement and end - start > 2 * _NEEDED:
                doubtful.append(end)
            position = end
        used, error = decoder.decode(self._data[position:])
        if used >= 0:
            raise OSError("there is no end mark")
        return used, error

    def _check_again(self, doubtful: list[int]) -> None:
        """Decode once more, in small, without the last bytes of the data that the decoder may not have needed.

        Codes of a few bits, as black corners have them, are decoded as soon as they come: that looks like skipping.
        """
        width, height = self._jpeg.frame[:2]
        raw_mode, jpeg_mode, *_ = self._args
        small = Image.new(self.mode, (-(-width // 8), -(-height // 8)))
        decoder = self._decoder(small.im, raw_mode, jpeg_mode, 8, 0)
        position, rest = 0, b""
        try:
            for end in doubtful:
                ended, waits, rest = _fill(decoder, rest + bytes(self._data[position : end - _NEEDED]))
                if ended is not None and ended[1]:
                    return
                if not waits:
                    raise MissingData("data are left over")
                position = end
        finally:
            decoder.cleanup()


def _fill(decoder: Any, data: bytes) -> tuple[tuple[int, int] | None, bool, bytes]:
    """Decode ``data`` and a filling: the answer of a decoder that is done, whether it waited, and what it left."""
    waits, rest = False, data + _ONES * (_AHEAD - 1)
    for _ in range(_SINGLE):
        rest += _ONES
        used, error = decoder.decode(rest)
        if used < 0:
            return (used, error), False, b""
        rest = rest[used:]
        waits |= bool(rest)
    return None, waits, rest


Image.register_decoder(_CODEC, _Decoder)
