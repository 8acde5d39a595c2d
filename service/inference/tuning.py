"""Choose the fastest sessions on this GPU by measurement: memory layouts and recorded CUDA graphs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from service.inference.sessions import GpuOptions, Session, Sessions

log = logging.getLogger(__name__)

Frames = NDArray[np.uint8]  # [batch, F, F, 3]

# Another session must take less than this share of the time: repeated measurements differ by up to 3 %.
_WORTHWHILE = 0.97


def fastest_sessions(
    present: Sessions, load: Callable[[GpuOptions], Session], gpu: GpuOptions, *, batch: Frames, single: Frames
) -> Sessions:
    """``present``, or the sessions that run ``batch`` and ``single`` faster.

    ``load`` starts a session with given options; options for which it raises are skipped. ``gpu`` are the options of
    ``present``, with channels first.
    """
    first, last = gpu, replace(gpu, channels_last=True)
    recorded = [replace(layout, single=True, graph=True) for layout in (first, last)]
    return Sessions(
        batched=_fastest("batches", present.batched, [last], load, batch),
        single=_fastest("single images", present.single, [last, *recorded], load, single),
    )


def is_faster(other: Session, present: Session, frames: Frames) -> bool:
    """Whether ``other`` runs ``frames`` faster than ``present`` by more than noise."""
    return _seconds(other, frames) < _WORTHWHILE * _seconds(present, frames)


def _fastest(
    what: str,
    present: Session,
    options: Sequence[GpuOptions],
    load: Callable[[GpuOptions], Session],
    frames: Frames,
) -> Session:
    chosen, chosen_name = present, "channels first"
    for gpu in options:
        name = f"channels {'last' if gpu.channels_last else 'first'}{', recorded' if gpu.graph else ''}"
        try:
            other = load(gpu)
            if is_faster(other, chosen, frames):
                chosen, chosen_name = other, name
        except Exception as error:  # this GPU or graph does not support it
            log.info("%s are not possible with %s: %s", what, name, error)
    log.info("%s run with %s", what, chosen_name)
    return chosen


def _seconds(session: Session, frames: Frames, *, runs: int = 10) -> float:
    """The median time of a run, after three that allocate memory and choose algorithms."""
    for _ in range(3):
        session.run(frames)
    seconds = []
    for _ in range(runs):
        began = time.perf_counter()
        session.run(frames)
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds))
