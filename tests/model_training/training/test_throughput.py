"""The arithmetic behind images a second, compute share and FLOP utilisation; no real time is measured."""

from __future__ import annotations

import time

import pytest
import torch

from model_training.training.throughput import PEAK_HALF_PRECISION, Throughput, peak_flops


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, to be set by the test."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_an_epoch_of_ten_seconds_with_one_spent_waiting(clock: list[float]) -> None:
    throughput = Throughput(torch.device("cpu"), half_precision=False)
    for _ in range(4):
        with throughput.waiting():
            clock[0] += 0.25
        with throughput.counting_first_step():
            clock[0] += 2.25
        throughput.add(64)
    figures = throughput.figures()
    assert figures == pytest.approx({"pictures_per_second": 25.6, "compute_share": 0.9})
    assert throughput.note(256) == "25.6 pictures/s  ETA 0 min"
    throughput.begin()
    clock[0] += 5
    assert throughput.figures() == {"pictures_per_second": 0.0, "compute_share": 1.0}


def test_peaks_by_name() -> None:
    assert peak_flops("NVIDIA H100 80GB HBM3") == 989e12
    assert peak_flops("NVIDIA H100 PCIe") == 756e12
    assert peak_flops("NVIDIA A100-SXM4-40GB") == 312e12
    assert peak_flops("Tesla T4") == 65e12
    assert peak_flops("NVIDIA H100 NVL") == 835e12
    assert peak_flops("NVIDIA L4") == 121e12
    for unknown in ("NVIDIA L40", "NVIDIA RTX A1000", "Some Card"):
        assert peak_flops(unknown) is None, unknown


def test_the_counter_counts_forward_and_backward(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    """A 10 x 20 by 20 x 30 product is 2 x 6,000 FLOPs forward, and twice that backward."""
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Test card")
    monkeypatch.setitem(PEAK_HALF_PRECISION, "Test card", 36_000.0)
    throughput = Throughput(torch.device("cuda"), half_precision=True)
    first, second = torch.rand(10, 20, requires_grad=True), torch.rand(20, 30, requires_grad=True)
    with throughput.counting_first_step():
        (first @ second).sum().backward()
    clock[0] += 2
    throughput.add(1)
    figures = throughput.figures()
    assert figures["tera_flops"] == pytest.approx(36_000 / 2 / 1e12)
    assert figures["flop_utilisation"] == pytest.approx(0.5)
