"""How fast training runs: pictures a second, the share of the time that is computing, and what a GPU makes of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

# Dense matrix multiplication in half precision by the makers' data sheets, in FLOP/s; without sparsity. Of the entries
# whose words are in a card's name the first counts.
PEAK_HALF_PRECISION = {
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "V100": 125e12,
    "T4": 65e12,
}


def peak_flops(device_name: str) -> float | None:
    """The half-precision peak of a card by its name, None for one that is not in the table."""
    # A100-SXM4-80GB is a name of several words; an L40 is no L4.
    words = set(device_name.replace("-", " ").split())
    return next((peak for name, peak in PEAK_HALF_PRECISION.items() if words.issuperset(name.split())), None)


class Throughput:
    """The figures of one epoch at a time; on a GPU with the FLOPs of a step, counted once."""

    def __init__(self, device: torch.device, *, half_precision: bool) -> None:
        self._on_gpu = device.type == "cuda"
        self._peak = peak_flops(torch.cuda.get_device_name(device)) if self._on_gpu and half_precision else None
        self._flops_per_step: int | None = None
        self.begin()

    def begin(self) -> None:
        """An epoch, or what is left of it, begins."""
        self._began, self._waited, self._pictures, self._steps = time.monotonic(), 0.0, 0, 0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around waiting for the pictures of the next step."""
        began = time.monotonic()
        yield
        self._waited += time.monotonic() - began

    def counting_first_step(self) -> Any:
        """Around a training step; the first one on a GPU is counted."""
        if not self._on_gpu or self._flops_per_step is not None:
            return nullcontext()
        return self._counting()

    @contextmanager
    def _counting(self) -> Iterator[None]:
        with FlopCounterMode(display=False) as counter:
            yield
        self._flops_per_step = counter.get_total_flops()

    def add(self, num_pictures: int) -> None:
        """A step over ``num_pictures``, of all processes together, is done."""
        self._pictures += num_pictures
        self._steps += 1

    def seconds(self) -> float:
        """Since the epoch began."""
        return time.monotonic() - self._began

    def figures(self) -> dict[str, float]:
        """Pictures a second and the share of the time not spent waiting for pictures; on a GPU TFLOP/s and, for known
        cards in half precision, their share of the peak (model FLOP utilisation), for this process.
        """
        if self._on_gpu:
            torch.cuda.synchronize()
        seconds = self.seconds()
        found = {
            "pictures_per_second": self._pictures / seconds,
            "compute_share": 1 - self._waited / seconds,
        }
        if self._flops_per_step is not None:
            flops = self._flops_per_step * self._steps / seconds
            found["tera_flops"] = flops / 1e12
            if self._peak is not None:
                found["flop_utilisation"] = flops / self._peak
        return found

    def note(self, pictures_left: int) -> str:
        """For the progress bar."""
        pace = self._pictures / self.seconds()
        return f"{pace:.1f} pictures/s  ETA {pictures_left / pace / 60:.0f} min"
