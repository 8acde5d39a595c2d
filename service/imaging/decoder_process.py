"""The program that decodes untrusted bytes: ``python -I -m service.imaging.decoder_process SOCKET``.

It starts as a fork server: it loads the decoders once, and forks a process in milliseconds when its parent asks for one
(:mod:`service.imaging.fork_server`). The fork server itself never sees an image. A forked process can open no file and
no connection, start no process and leave no core dump, and has limits of CPU time and memory. All it has is a socket to
:mod:`service.imaging.decoder_pool`.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import resource
import signal
import socket
import struct
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from PIL import Image

from service.imaging.decode import decode
from service.imaging.kinds import costly
from service.imaging.picture import PictureError, PictureLimits

MESSAGE_BYTES = 4096
SIZE = struct.Struct(">Q")

_PR_SET_DUMPABLE = 4  # of linux/prctl.h

# A process whose channel is closed needs milliseconds to end.
_ENDING_SECONDS = 2.0

# Blocks of 16 MB that Pillow keeps for the next image; one of 12 megapixels takes three. Otherwise the kernel clears
# their pages for each image, which takes a tenth of the decoding time.
_KEPT_BLOCKS = 3


@dataclass(frozen=True)
class Work:
    """How a process decodes its images: to which frame, and within which limits; also DICOM, or not."""

    frame_size: int
    jpeg_quality: int | None
    pictures: PictureLimits
    cpu_seconds: float
    memory_bytes: int  # on top of what the process has when it starts
    dicom: bool = False


def serve_forks(control: socket.socket) -> None:
    """Fork and reap as the messages say, until the parent closes its end.

    A message with a socket holds :class:`Work`; the answer is a process id, 0 when there is no room for a process.
    Another message holds a process id and whether to kill it; the answer is its exit status, negative for a signal.
    """
    children: set[int] = set()
    while True:
        message, descriptors, *_ = socket.recv_fds(control, MESSAGE_BYTES, 1)
        if not message:
            return
        request = json.loads(message)
        if descriptors:
            if request["dicom"]:
                _load_dicom()
            answer = _fork(control, descriptors[0], request)
            children.add(answer)
        elif request["pid"] in children:
            children.remove(request["pid"])
            answer = _reap(request["pid"], kill=request["kill"])
        else:  # an earlier fork server's, which is gone
            answer = -signal.SIGKILL
        control.send(json.dumps(answer).encode())


def _load_dicom() -> None:
    """Load what reads DICOM, as :func:`main` loads the rest; it takes longer than all of that, half a second."""
    if "service.imaging.dicom_pixels" not in sys.modules:
        os.environ["OPENBLAS_NUM_THREADS"] = "1"  # threads of NumPy's would not be there after a fork
        import service.imaging.dicom_pixels  # noqa: F401

        gc.freeze()


def _fork(control: socket.socket, descriptor: int, request: dict[str, Any]) -> int:
    try:
        pid = os.fork()
    except OSError:
        pid = -1
    if pid == 0:
        try:
            control.close()
            work = Work(**{**request, "pictures": PictureLimits(**request["pictures"])})
            confine(work.memory_bytes)
            decode_pictures(socket.socket(fileno=descriptor), work)
        except MemoryError:  # before or after decoding: no fault of the image's
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(0)
    os.close(descriptor)
    return max(pid, 0)


def _reap(pid: int, *, kill: bool) -> int:
    ends = time.monotonic() + (0.0 if kill else _ENDING_SECONDS)
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= ends:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.0005)


def decode_pictures(channel: socket.socket, work: Work) -> None:
    """Decode one image after another until the parent closes its end.

    An image is its size and its bytes. The answer is the size of a JSON text and that text: a ``picture`` without its
    frame, whose bytes follow, or an ``error`` and its ``detail``. The kernel ends this process when an image takes
    more than its CPU time: native code cannot be interrupted otherwise.
    """
    while size := receive(channel, SIZE.size):
        data = receive(channel, *SIZE.unpack(size))
        signal.setitimer(signal.ITIMER_PROF, work.cpu_seconds)
        answer, frame = _answer(data, work)
        signal.setitimer(signal.ITIMER_PROF, 0)
        del data  # while the process waits, it holds no image
        text = json.dumps(answer).encode()
        channel.sendall(SIZE.pack(len(text)) + text + frame)


def _answer(data: bytes, work: Work) -> tuple[dict[str, Any], bytes]:
    try:
        image, *fields = decode(data, work.frame_size, work.pictures, jpeg_quality=work.jpeg_quality)
        return {"picture": fields}, image.tobytes()
    except PictureError as error:
        return {"error": type(error).__name__, "detail": str(error)}, b""
    except MemoryError:
        return {"error": "CostlyPicture", "detail": str(costly(data))}, b""


def receive(channel: socket.socket, num_bytes: int, ends: float | None = None) -> bytes:
    """Exactly so many bytes, or none when the other end was closed before.

    Raises ``TimeoutError`` when they are not there at ``ends``, in the monotonic clock's seconds.
    """
    received = bytearray(num_bytes)
    left = memoryview(received)
    while left:
        if ends is not None:
            channel.settimeout(max(0.001, ends - time.monotonic()))
        num = channel.recv_into(left)
        if num == 0:
            return b""
        left = left[num:]
    return bytes(received)


def confine(memory_bytes: int) -> None:
    """Give up, for good, what decoding does not need; ``memory_bytes`` may be allocated beyond what is in use now."""
    with open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123 - pathlib is not loaded
        in_use = int(statm.read().split()[0]) * resource.getpagesize()
    # Where memory runs out, the system ends a decoder and not the service.
    with suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as score:  # noqa: PTH123
        score.write("1000")
    keep_memory_private()
    for what, limit in {
        resource.RLIMIT_AS: in_use + memory_bytes,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_NOFILE: 0,  # open ones stay; neither a file nor a socket can be opened
    }.items():
        resource.setrlimit(what, (limit, limit))


def keep_memory_private() -> None:
    """Let no dump hold this process's memory, which holds images, and no process of the same user read it.

    The limit of dumps does not bind the programs that many systems pipe dumps to, see core(5).
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def main(control_number: int) -> None:
    """Load everything now: a confined process can open no module."""
    Image.init()
    Image.core.set_blocks_max(_KEPT_BLOCKS)  # type: ignore[attr-defined]
    gc.freeze()  # forked processes share these objects, unless the collector writes to them
    serve_forks(socket.socket(fileno=control_number))


if __name__ == "__main__":
    main(int(sys.argv[1]))
