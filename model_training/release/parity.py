"""Compare ONNX Runtime with PyTorch on the same frames: the gate of every exported graph."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from model_training.release.deployed import DeployedCIN
from service.bundle import TensorSpec

# Both compute in float32, with the weights as stored in the file.
MAX_PROBABILITY_DIFFERENCE = 1e-4
MAX_BOX_DIFFERENCE_PIXELS = 0.5
GATE_BATCHES = (1, 3, 16)

Outputs = dict[str, NDArray[Any]]
Provider = Literal["cpu", "cuda"]

# Without TensorFloat-32, which rounds more.
_PROVIDERS: dict[Provider, list[Any]] = {
    "cpu": ["CPUExecutionProvider"],
    "cuda": [("CUDAExecutionProvider", {"use_tf32": "0"}), "CPUExecutionProvider"],
}


def run_torch(network: DeployedCIN, frames: NDArray[np.uint8], specs: list[TensorSpec], batch: int) -> Outputs:
    """Every output for every frame, from PyTorch."""
    with torch.inference_mode():
        parts = [network(torch.from_numpy(np.array(frames[i : i + batch]))) for i in range(0, len(frames), batch)]
    return {spec.name: torch.cat([p[k] for p in parts]).numpy() for k, spec in enumerate(specs)}


def run_onnx(
    path: Path, frames: NDArray[np.uint8], specs: Sequence[TensorSpec], batch: int, provider: Provider = "cpu"
) -> Outputs:
    """Every output for every frame, from ONNX Runtime."""
    session = _open(path, provider)
    names = [spec.name for spec in specs]
    parts = [session.run(names, {"image": frames[i : i + batch]}) for i in range(0, len(frames), batch)]
    return {name: np.concatenate([p[k] for p in parts]) for k, name in enumerate(names)}


def usable(provider: Provider, graph: Path) -> bool:
    """Whether ``graph`` actually runs on ``provider`` here: ONNX Runtime falls back to the CPU without an error."""
    wanted = _PROVIDERS[provider][0]
    name = wanted if isinstance(wanted, str) else wanted[0]
    return name in onnxruntime.get_available_providers() and _open(graph, provider).get_providers()[0] == name


def _open(path: Path, provider: Provider) -> onnxruntime.InferenceSession:
    if provider == "cuda":
        onnxruntime.set_default_logger_severity(4)  # get_providers() shows a missing GPU
        with redirect_stdout(io.StringIO()):
            onnxruntime.preload_dlls()
    return onnxruntime.InferenceSession(path, providers=_PROVIDERS[provider])


@dataclass(frozen=True)
class Parity:
    """The largest differences between ONNX Runtime and PyTorch on the same frames."""

    num_pictures: int
    max_probability_difference: float
    diagnoses_changed: int
    max_box_difference_pixels: float

    @property
    def passed(self) -> bool:
        """Whether the graph may be shipped."""
        return (
            self.max_probability_difference <= MAX_PROBABILITY_DIFFERENCE
            and self.diagnoses_changed == 0
            and self.max_box_difference_pixels <= MAX_BOX_DIFFERENCE_PIXELS
        )


def compare(reference: Outputs, other: Outputs, *, size: int) -> Parity:
    """Compare outputs image by image; boxes in pixels of an image of ``size``."""
    differences = [np.abs(reference[n] - other[n]).max() for n in ("probabilities", "branch_probabilities")]
    changed = reference["probabilities"].argmax(axis=1) != other["probabilities"].argmax(axis=1)
    box_difference = np.abs(reference["crop_box"] - other["crop_box"]).max() * size
    return Parity(len(changed), float(max(differences)), int(changed.sum()), float(box_difference))
