"""Training throughput: images per second, share of time spent computing, and a GPU's FLOP utilisation."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

# Dense half-precision matrix multiplication by the data sheets, in FLOP/s. The first entry with all its words in a
# card's name applies.
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
    """The half-precision peak of a card in FLOP/s, by its name; None for a card that is not in the table."""
    # Whole words, because an L40 is not an L4. A100-SXM4-80GB counts as three words.
    words = set(device_name.replace("-", " ").split())
    return next((peak for name, peak in PEAK_HALF_PRECISION.items() if words.issuperset(name.split())), None)


class Throughput:
    """Measures one epoch at a time; on a GPU also the FLOPs of a step, which are counted once."""

    def __init__(self, device: torch.device, *, half_precision: bool) -> None:
        self._on_gpu = device.type == "cuda"
        self._peak = peak_flops(torch.cuda.get_device_name(device)) if self._on_gpu and half_precision else None
        self._flops_per_step: int | None = None
        self.begin()

    def begin(self) -> None:
        """Start an epoch, or resume one."""
        self._began, self._waited, self._pictures, self._steps = time.monotonic(), 0.0, 0, 0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Context for waiting for the next step's images."""
        began = time.monotonic()
        yield
        self._waited += time.monotonic() - began

    def counting_first_step(self) -> Any:
        """Context for a training step; counts the FLOPs of the first one on a GPU."""
        if not self._on_gpu or self._flops_per_step is not None:
            return nullcontext()
        return self._counting()

    @contextmanager
    def _counting(self) -> Iterator[None]:
        with FlopCounterMode(display=False) as counter:
            yield
        self._flops_per_step = counter.get_total_flops()

    def add(self, num_pictures: int) -> None:
        """Count a finished step over ``num_pictures`` of all processes."""
        self._pictures += num_pictures
        self._steps += 1

    def seconds(self) -> float:
        """Seconds since the epoch started."""
        return time.monotonic() - self._began

    def figures(self) -> dict[str, float]:
        """Images per second and the share of time not spent waiting for images.

        On a GPU also this process's TFLOP/s and, in half precision on a known card, their share of the peak (model FLOP
        utilisation).
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
        """Text for the progress bar: speed and remaining time."""
        per_second = self._pictures / self.seconds()
        return f"{per_second:.1f} pictures/s  ETA {pictures_left / per_second / 60:.0f} min"
