"""What the hardware gives without HTTP, and with nothing kept: decoding and ``session.run`` in loops."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from service.bundle import Bundle, load_bundle
from service.settings import Settings, usable_cpus

# At most.
WARM_UP_SECONDS = 1.0


def limit(variant: str, provider: str, pictures: Sequence[bytes], *, seconds: float) -> float:
    """Pictures a second of one loop whose network has all cores, while the others decode."""
    bundle = load_bundle(Settings().bundle)
    session = _session(bundle, variant, provider, threads=usable_cpus())
    batch, threads = (16 if provider == "cuda" else 1), max(1, usable_cpus() - 1)
    upcoming = itertools.cycle(pictures)
    with ThreadPoolExecutor(threads) as pool:
        ahead: deque[Future[NDArray[np.uint8]]] = deque()

        def frame_of(data: bytes) -> NDArray[np.uint8]:
            return bundle.read_picture(data).frame

        def run() -> int:
            while len(ahead) < 2 * max(batch, threads):
                ahead.append(pool.submit(frame_of, next(upcoming)))
            session.run(None, {"image": np.stack([ahead.popleft().result() for _ in range(batch)])})
            return batch

        return _rate(run, seconds)


def limit_of_single_cores(variant: str, pictures: Sequence[bytes], *, seconds: float) -> float:
    """Pictures a second of as many loops as there are cores, each decoding and running the network on its own."""
    bundle = load_bundle(Settings().bundle)
    session = _session(bundle, variant, "cpu", threads=1)

    def loop(upcoming: itertools.cycle[bytes]) -> float:
        def run() -> int:
            session.run(None, {"image": bundle.read_picture(next(upcoming)).frame[None]})
            return 1

        return _rate(run, seconds)

    with ThreadPoolExecutor(usable_cpus()) as pool:
        return sum(pool.map(loop, [itertools.cycle(pictures) for _ in range(usable_cpus())]))


def _session(bundle: Bundle, variant: str, provider: str, *, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    if provider == "cuda":
        onnxruntime.preload_dlls()
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"] if provider == "cuda" else ["CPUExecutionProvider"]
    return onnxruntime.InferenceSession(bundle.path(bundle.variant(variant).file), options, providers=providers)


def _rate(run: Callable[[], int], seconds: float) -> float:
    """What ``run`` gets done a second, after a warm-up."""
    warm = time.perf_counter() + min(WARM_UP_SECONDS, seconds)
    while time.perf_counter() < warm:
        run()
    began, done = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - began) < seconds:
        done += run()
    return done / elapsed
