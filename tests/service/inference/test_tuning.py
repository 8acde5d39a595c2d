"""Tuning: other sessions are taken where they are faster, for batches and for single images each."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from service.bundle import Bundle
from service.inference.engine import Engine
from service.inference.sessions import GpuOptions, HostSession, Outputs, Session, Sessions
from service.inference.tuning import fastest_sessions, is_faster


class Ticking:
    """A session whose runs take as long as they are said to, by a clock that it moves itself."""

    now = 0.0

    def __init__(self, *seconds: float) -> None:
        self._seconds, self._num = seconds, 0

    def run(self, _: NDArray[np.uint8]) -> Outputs:
        Ticking.now += self._seconds[min(self._num, len(self._seconds) - 1)]
        self._num += 1
        return {}


@pytest.mark.parametrize(
    ("other", "taken"),
    [
        (Ticking(0.5), True),
        (Ticking(0.98), False),  # no more than noise
        (Ticking(2.0), False),
        (Ticking(9.0, 9.0, 9.0, 0.5), True),  # the first runs choose algorithms
    ],
)
def test_another_way_is_taken_when_it_is_clearly_faster(
    monkeypatch: pytest.MonkeyPatch, other: Ticking, taken: bool
) -> None:
    monkeypatch.setattr(time, "perf_counter", lambda: Ticking.now)
    assert is_faster(other, Ticking(1.0), np.zeros((1, 2, 2, 3), np.uint8)) == taken


FIRST, LAST = GpuOptions(), GpuOptions(channels_last=True)
FIRST_RECORDED, LAST_RECORDED = (replace(layout, single=True, graph=True) for layout in (FIRST, LAST))


class Timed:
    """A session with these options, whose runs take a fixed time for each batch size."""

    def __init__(self, gpu: GpuOptions, seconds: dict[int, float]) -> None:
        self.gpu, self._seconds = gpu, seconds

    def run(self, frames: NDArray[np.uint8]) -> Outputs:
        Ticking.now += self._seconds[len(frames)]
        return {}


@pytest.mark.parametrize(
    ("seconds", "batched", "single"),
    [
        # Of the largest batch: channels first, last. Of one image: first, last, either recorded. None: impossible.
        ((2.0, 2.0, 1.0, 1.0, 1.0, 1.0), FIRST, FIRST),
        ((2.0, 1.0, 1.0, 1.5, 1.5, 1.5), LAST, FIRST),
        ((2.0, 2.5, 1.0, 0.9, 0.8, 0.7), FIRST, LAST_RECORDED),
        ((2.0, 1.0, 1.0, 1.2, 0.5, 0.7), LAST, FIRST_RECORDED),
        ((2.0, None, 1.0, None, 0.5, None), FIRST, FIRST_RECORDED),
        ((2.0, None, 1.0, None, None, None), FIRST, FIRST),
    ],
)
def test_the_fastest_sessions_are_taken(
    monkeypatch: pytest.MonkeyPatch, seconds: tuple[float | None, ...], batched: GpuOptions, single: GpuOptions
) -> None:
    runs = [(FIRST, 4), (LAST, 4), (FIRST, 1), (LAST, 1), (FIRST_RECORDED, 1), (LAST_RECORDED, 1)]
    takes: dict[GpuOptions, dict[int, float]] = {}
    for (gpu, batch), took in zip(runs, seconds, strict=True):
        if took is not None:
            takes.setdefault(gpu, {})[batch] = took

    def load(gpu: GpuOptions) -> Session:
        if gpu not in takes:
            raise RuntimeError("not on this GPU")
        return Timed(gpu, takes[gpu])

    monkeypatch.setattr(time, "perf_counter", lambda: Ticking.now)
    present = Timed(FIRST, takes[FIRST])
    batch_frames, frame = (np.zeros((num, 2, 2, 3), np.uint8) for num in (4, 1))
    chosen = fastest_sessions(Sessions(present, present), load, FIRST, batch=batch_frames, single=frame)
    assert [session.gpu for session in (chosen.batched, chosen.single)] == [batched, single]  # type: ignore[attr-defined]


def test_the_canary_runs_in_every_session_and_as_the_largest_batch(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: set[tuple[int, int]] = set()
    really_run = HostSession.run

    def run(session: HostSession, frames: NDArray[np.uint8]) -> Outputs:
        runs.add((session.graph.get_session_options().intra_op_num_threads, len(frames)))
        return really_run(session, frames)

    engine = Engine(tiny_bundle, provider="cpu", threads=2)
    engine.warm_up([1, 2, 4])
    monkeypatch.setattr(HostSession, "run", run)
    assert engine.canary_difference() < tiny_bundle.manifest.canary.tolerance
    assert runs == {(2, 1), (2, 4), (1, 1)}
