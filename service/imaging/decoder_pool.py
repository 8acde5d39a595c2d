"""Decoding in child processes: an image that costs too much, or crashes its decoder, fails alone.

Native decoders and colour management cannot be interrupted within a process. So this process never opens untrusted
bytes with one of them; it hands them to :mod:`service.imaging.decoder_process`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from threading import Lock
from time import perf_counter
from typing import NamedTuple

from service.imaging.decoder import Decoder, DecoderLimits, Ended, Replaced
from service.imaging.decoder_process import Work
from service.imaging.fork_server import DecoderError, ForkServer
from service.imaging.kinds import READS_DICOM, costly, damaged, is_dicom
from service.imaging.picture import (
    DEFAULT_LIMITS,
    CostlyPicture,
    Picture,
    PictureError,
    PictureLimits,
    PictureTooLarge,
)

log = logging.getLogger(__name__)

# Processes that are kept for other clients than those whose images are decoded. A fork and fresh memory take 14 ms.
MOST_IDLE = 4

# For Python and small allocations, on top of an image's pixels and three copies of its bytes.
_MORE_BYTES = 64 * 2**20


# Nearly all images; the largest are JPEGs of 28 megapixels and of 40 to 110, progressive ones of 16 and WebP of 7.
ORDINARY = DecoderLimits(cpu_seconds=1.0, wall_seconds=10.0, memory_bytes=108 * 2**20)
# JPEG, PNG and TIFF of 40 megapixels, WebP of 26. Both wall times together are less than a request's deadline.
COSTLY = DecoderLimits(cpu_seconds=10.0, wall_seconds=15.0, memory_bytes=400 * 2**20)


class Decoded(NamedTuple):
    """An image, and the seconds that decoding it took."""

    picture: Picture
    seconds: float


# Runs a function for the client that is named, on a thread.
Compute = Callable[[Callable[[], Decoded], str], Awaitable[Decoded]]


class DecoderPool:
    """Decodes images for one service. Its processes are forked when they are first needed.

    A process decodes for one client alone, so that what one client's image did to it harms no other's.

    An image that exceeds the ordinary limits is decoded again within those for costly ones: one at a time, by a
    process of its own. So it delays no ordinary image, and its memory returns to the system.
    """

    def __init__(
        self,
        server: ForkServer,
        compute: Compute,
        compute_costly: Compute,
        *,
        frame_size: int,
        jpeg_quality: int | None = None,
        pictures: PictureLimits = DEFAULT_LIMITS,
        ordinary: DecoderLimits = ORDINARY,
        costly: DecoderLimits = COSTLY,
        on_replaced: Callable[[Replaced], object] = lambda reason: None,
        on_decoded: Callable[[float], object] = lambda seconds: None,
    ) -> None:
        """``compute`` runs as many ordinary images as may be decoded at once, ``compute_costly`` one costly image.

        ``on_replaced`` gets the reason when a process is replaced, ``on_decoded`` the seconds that decoding took, also
        when it failed.
        """
        self._server, self._compute, self._compute_costly = server, compute, compute_costly
        self._ordinary, self._costly = ordinary, costly
        self._on_replaced, self._on_decoded = on_replaced, on_decoded
        self._frame_size, self._jpeg_quality, self._pictures = frame_size, jpeg_quality, pictures
        self._lock = Lock()
        self._idle: list[Decoder] = []  # the latest last
        self._busy: set[Decoder] = set()
        self._closed = False

    @property
    def failing(self) -> bool:
        """Whether the latest process could not be started, seconds ago."""
        return self._server.failing

    def require_working(self) -> None:
        """Raises :class:`DecoderError` while processes cannot be started."""
        if self.failing:
            raise DecoderError("no process could be started to decode images")

    async def decode(self, data: bytes, client: str) -> Decoded:
        """Decode ``data``, as :func:`service.imaging.read_picture` does, when it is the client's turn.

        Raises a :class:`PictureError`, :class:`DecoderError`, or what ``compute_costly`` raises. When the caller is
        cancelled, an image that is being decoded is decoded to the end within its limits.
        """
        if len(data) > self._pictures.max_bytes:
            raise PictureTooLarge(f"the image has {len(data):,} bytes, the limit is {self._pictures.max_bytes:,}")
        try:
            return await self._compute(lambda: self._decode_ordinary(data, client), client)
        except CostlyPicture:
            return await self._compute_costly(lambda: self._decode_costly(data, client), client)

    def close(self) -> None:
        """End every process at once; images that are being decoded get :class:`DecoderError`."""
        self._closed = True
        for decoder in list(self._busy):
            decoder.kill()  # its thread does the rest
        with self._lock:
            idle, self._idle = self._idle, []
        for decoder in idle:
            decoder.end()

    def _decode_ordinary(self, data: bytes, client: str) -> Decoded:
        dicom = READS_DICOM and is_dicom(data)
        return self._decode(self._idle_one(client, dicom) or self._fork(self._ordinary, client, dicom), data)

    def _decode_costly(self, data: bytes, client: str) -> Decoded:
        return self._decode(self._fork(self._costly, client, READS_DICOM and is_dicom(data)), data)

    def _idle_one(self, client: str, dicom: bool) -> Decoder | None:
        """One of this client's; without one, another client's may have to make room for it."""
        while (decoder := self._pop_idle(client, dicom)) is not None:
            if not decoder.is_alive():
                self._count(decoder.end())
            elif _serves(decoder, client, dicom):
                return decoder
            else:
                decoder.end()
                break
        return None

    def _pop_idle(self, client: str, dicom: bool) -> Decoder | None:
        """The latest one of this client's; or else, when there are many, the one that is idle for longest."""
        with self._lock:
            latest = reversed(range(len(self._idle)))
            own = next((i for i in latest if _serves(self._idle[i], client, dicom)), None)
            if own is None and len(self._idle) < MOST_IDLE:
                return None
            return self._idle.pop(own or 0)

    def _fork(self, limits: DecoderLimits, client: str, dicom: bool) -> Decoder:
        work = Work(
            frame_size=self._frame_size,
            jpeg_quality=self._jpeg_quality,
            pictures=replace(self._pictures, max_memory=limits.memory_bytes),
            cpu_seconds=limits.cpu_seconds,
            memory_bytes=limits.memory_bytes + 3 * self._pictures.max_bytes + _MORE_BYTES,
            dicom=dicom,
        )
        return Decoder(self._server, work, limits, client)

    def _decode(self, decoder: Decoder, data: bytes) -> Decoded:
        began, is_intact = perf_counter(), False
        self._busy.add(decoder)
        if self._closed:  # since it was forked
            decoder.kill()
        try:
            picture = decoder.decode(data)
            is_intact = True
        except PictureError:
            is_intact = True
            raise
        except Ended as ended:
            self._count(ended.reason)
            raise _error(ended.reason, data) from None
        finally:
            seconds = perf_counter() - began
            self._on_decoded(seconds)
            self._busy.discard(decoder)
            if is_intact and decoder.limits is self._ordinary and not self._closed:
                with self._lock:
                    self._idle.append(decoder)
            else:
                decoder.end()
        return Decoded(picture, seconds)

    def _count(self, reason: Replaced) -> None:
        if not self._closed:
            log.warning("a process that decodes images was replaced: %s", reason)
            self._on_replaced(reason)


def _serves(decoder: Decoder, client: str, dicom: bool) -> bool:
    """Whether it is this client's; before the first DICOM file, processes are forked that cannot read any."""
    return decoder.client == client and (decoder.reads_dicom or not dicom)


def _error(reason: Replaced, data: bytes) -> PictureError | DecoderError:
    """What becomes of the image whose process ended for this reason."""
    match reason:
        case "killed":
            return DecoderError("the process that decoded this image was killed")
        case "crashed":
            return damaged(data)
        case "cpu_time" | "wall_time":
            return costly(data)
