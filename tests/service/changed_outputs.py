"""A session whose outputs a test changes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from service.inference.sessions import HostSession, Outputs


def during(monkeypatch: pytest.MonkeyPatch, change: Callable[[Outputs, NDArray[np.uint8], int], Outputs]) -> list[int]:
    """Change the outputs of every run; returns the sizes of the batches that were run, as they come."""
    really_run, sizes = HostSession.run, list[int]()

    def run(session: HostSession, frames: NDArray[np.uint8]) -> Outputs:
        sizes.append(len(frames))
        return change(really_run(session, frames), frames, len(sizes))

    monkeypatch.setattr(HostSession, "run", run)
    return sizes
