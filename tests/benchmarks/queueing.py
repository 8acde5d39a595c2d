"""The waiting that random arrivals cause by themselves, where every picture gets one core."""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

NUM_ARRIVALS = 200_000


def response_times(num_cores: int, seconds: float, load: float, *, seed: int = 0) -> NDArray[np.float64]:
    """Waiting and service together, in seconds, in a first-come queue with random arrivals at ``load`` of its capacity.

    Every core serves one at a time, in exactly ``seconds``; nothing else costs time.
    """
    gaps = np.random.default_rng(seed).exponential(seconds / (num_cores * load), NUM_ARRIVALS)
    free = [0.0] * num_cores
    times = np.empty(NUM_ARRIVALS)
    for i, arrival in enumerate(np.cumsum(gaps)):
        end = max(arrival, heapq.heappop(free)) + seconds
        heapq.heappush(free, end)
        times[i] = end - arrival
    return times
