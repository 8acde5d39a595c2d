"""The parent's end of one decoder process."""

from __future__ import annotations

import hashlib
import json
import math
import select
import signal
import socket
import time
from dataclasses import dataclass
from datetime import date
from threading import Lock
from typing import Any, Literal, NamedTuple

import numpy as np

from service.imaging.decoder_process import MESSAGE_BYTES, SIZE, Work, receive
from service.imaging.fork_server import DecoderError, ForkServer
from service.imaging.kinds import FORMATS
from service.imaging.picture import (
    CAUTIONS,
    NOTES,
    TRACKING_UID,
    Caution,
    Note,
    Picture,
    PictureError,
    PictureLimits,
    Tracking,
)

Replaced = Literal["cpu_time", "wall_time", "crashed", "killed"]

# From the names that processes answer with.
_NOTES: dict[Any, Note] = {note: note for note in NOTES}
_CAUTIONS: dict[Any, Caution] = {caution: caution for caution in CAUTIONS}
_ERRORS = {error.__name__: error for error in PictureError.__subclasses__()}


@dataclass(frozen=True)
class DecoderLimits:
    """What decoding one image may take; ``memory_bytes`` is estimated before it is decoded."""

    cpu_seconds: float
    wall_seconds: float
    memory_bytes: int


class Ended(Exception):  # noqa: N818 - the image may be at fault
    """The process ended, or was ended, before it had decoded the image."""

    def __init__(self, reason: Replaced) -> None:
        super().__init__(reason)
        self.reason = reason


class _Malformed(Exception):  # noqa: N818
    """No answer of an intact process."""


class _Answer(NamedTuple):
    width: int
    height: int
    format: str
    notes: tuple[Note, ...]
    cautions: tuple[Caution, ...]
    millimetres_per_pixel: float | None
    tracking: Tracking | None


def _parse(text: bytes, limits: PictureLimits) -> _Answer:
    """What a process answered. Raises :class:`_Malformed`, or a :class:`PictureError` that it answered."""
    try:
        match json.loads(text):
            case {"error": str(name), "detail": str(detail)}:
                error = _ERRORS[name]
            case {"picture": [int(width), int(height), str(kind), list(notes), list(cautions), scale, tracking]}:
                most = limits.max_pixels_of("JPEG" if kind == "DICOM" else kind)  # which may hold a JPEG
                if kind not in FORMATS or min(width, height) < 1 or width * height > most:
                    raise _Malformed
                if scale is not None and not (isinstance(scale, float) and 0.0 < scale < math.inf):
                    raise _Malformed
                known = tuple(_NOTES[note] for note in notes), tuple(_CAUTIONS[caution] for caution in cautions)
                return _Answer(width, height, kind, *known, scale, None if tracking is None else _tracking(*tracking))
            case _:
                raise _Malformed
    except (ValueError, KeyError, TypeError, RecursionError) as cause:
        raise _Malformed from cause
    raise error(detail)


def _tracking(uid: str, study_date: str | None) -> Tracking:
    if not TRACKING_UID.fullmatch(uid):
        raise _Malformed
    return Tracking(uid, None if study_date is None else date.fromisoformat(study_date).isoformat())


class Decoder:
    """One process, at the other end of a socket. What it answers may be an attacker's."""

    def __init__(self, server: ForkServer, work: Work, limits: DecoderLimits, client: str) -> None:
        """Raises :class:`DecoderError` when the system has no room for it."""
        self.limits, self.client, self.reads_dicom = limits, client, work.dicom
        self._server, self._work = server, work
        try:
            self._channel, theirs = socket.socketpair()
        except OSError as error:
            raise DecoderError(f"no process could be started to decode an image: {error.strerror}") from error
        with theirs:
            try:
                self._pid = server.fork(work, theirs)
            except BaseException:
                self._channel.close()
                raise
        self._lock = Lock()
        self._status: int | None = None

    def decode(self, data: bytes) -> Picture:
        """The decoded image. Raises :class:`Ended`, and what is wrong with the image as :class:`PictureError`."""
        ends, size = time.monotonic() + self.limits.wall_seconds, self._work.frame_size
        try:
            self._channel.settimeout(self.limits.wall_seconds)
            self._channel.sendall(SIZE.pack(len(data)))
            self._channel.sendall(data)
            sha256 = hashlib.sha256(data).hexdigest()  # meanwhile
            answer = _parse(self._receive(self._receive_size(ends), ends), self._work.pictures)
            frame = np.frombuffer(self._receive(size * size * 3, ends), np.uint8).reshape(size, size, 3)
        except TimeoutError:
            self.kill()
            raise Ended("wall_time") from None
        except (OSError, EOFError):
            raise Ended(self.end()) from None
        except _Malformed:
            self.kill()
            raise Ended("crashed") from None
        return Picture(
            frame,
            answer.width,
            answer.height,
            answer.format,
            sha256,
            answer.notes,
            answer.cautions,
            answer.millimetres_per_pixel,
            answer.tracking,
        )

    def _receive_size(self, ends: float) -> int:
        size: int
        (size,) = SIZE.unpack(self._receive(SIZE.size, ends))
        if not 0 < size <= MESSAGE_BYTES:
            raise _Malformed
        return size

    def _receive(self, num_bytes: int, ends: float) -> bytes:
        received = receive(self._channel, num_bytes, ends)
        if not received:
            raise EOFError
        return received

    def is_alive(self) -> bool:
        """Whether it still waits for an image."""
        closed = select.poll()
        closed.register(self._channel, select.POLLIN)
        return not closed.poll(0)

    def kill(self) -> None:
        """End the process at once."""
        self._reap(kill=True)

    def end(self) -> Replaced:
        """Let the process end, if it has not, and release what is shared; why it ended."""
        self._channel.close()
        status = self._reap(kill=False)
        return "cpu_time" if status == -signal.SIGPROF else "killed" if status == -signal.SIGKILL else "crashed"

    def _reap(self, *, kill: bool) -> int:
        with self._lock:
            if self._status is None:
                self._status = self._server.reap(self._pid, kill=kill)
            return self._status
