"""The parent's end of the program that forks decoder processes, :mod:`service.imaging.decoder_process`."""

from __future__ import annotations

import json
import logging
import math
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from threading import Lock
from typing import Self

from service.imaging.decoder_process import MESSAGE_BYTES, Work

log = logging.getLogger(__name__)

# Forking and reaping take milliseconds, and two seconds when a process does not end.
_HANGS_SECONDS = 5.0
# Loading what reads DICOM, once, takes half a second on an idle machine.
_LOADS_SECONDS = 20.0
# For so long after a failure, images are better sent elsewhere; then they show whether it lasts.
_FAILING_SECONDS = 5.0


class DecoderError(RuntimeError):
    """An image was not decoded for want of memory or processes, which is no fault of its own."""


class ForkServer:
    """Starts decoder processes within milliseconds; a context manager. Pools and threads may share one."""

    def __init__(self, *, on_failure: Callable[[], object] = lambda: None) -> None:
        """Start it; it is ready 0.15 s later, and the first :meth:`fork` waits for that.

        ``on_failure`` is called when no process could be started.
        """
        self._lock, self._on_failure = Lock(), on_failure
        self._failing_until = -math.inf
        self._start()

    def fork(self, work: Work, channel: socket.socket) -> int:
        """A process that decodes what comes through ``channel``; its id.

        Raises :class:`DecoderError` when the system has no room for a process.
        """
        message = json.dumps(asdict(work)).encode()
        with self._lock:
            pid = self._ask(message, channel.fileno(), loads=work.dicom)
            if pid is None:  # it was killed from outside, or hangs
                self._end()
                with suppress(OSError):
                    self._start()
                    pid = self._ask(message, channel.fileno(), loads=work.dicom)
        self._failing_until = -math.inf if pid else time.monotonic() + _FAILING_SECONDS
        if not pid:
            log.error("no process could be started to decode an image")
            self._on_failure()
            raise DecoderError("no process could be started to decode an image")
        return pid

    @property
    def failing(self) -> bool:
        """Whether the latest process could not be started, seconds ago."""
        return time.monotonic() < self._failing_until

    def reap(self, pid: int, *, kill: bool) -> int:
        """End a process; its exit status, negative for a signal.

        Unless ``kill``, it has closed its channel: then it is about to end by itself, and its status says why.
        """
        with self._lock:
            status = self._ask(json.dumps({"pid": pid, "kill": kill}).encode())
        return -signal.SIGKILL if status is None else status

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End it; processes that it started end once their pools close their channels."""
        with self._lock:
            self._end()

    def _start(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-m", "service.imaging.decoder_process", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # native decoders write a line for each fault of an image
                env={},  # none of this process's secrets
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # Ctrl-C in a terminal is for the parent
            )

    def _end(self) -> None:
        self._control.close()
        self._process.kill()
        self._process.wait()

    def _ask(self, message: bytes, *descriptors: int, loads: bool = False) -> int | None:
        try:
            self._control.settimeout(_LOADS_SECONDS if loads else _HANGS_SECONDS)
            socket.send_fds(self._control, [message], descriptors)
            answer = self._control.recv(MESSAGE_BYTES)
        except OSError:
            self._control.close()  # a late answer would be taken for the next one
            return None
        return int(answer) if answer else None
