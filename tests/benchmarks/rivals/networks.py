"""The network behind a rival: the shipped graph in a plain session, or the same network in eager PyTorch."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.bundle import load_bundle
from service.settings import Settings

PORT = int(os.environ.get("BENCHMARK_PORT", "0"))
WORKERS = int(os.environ.get("BENCHMARK_WORKERS", "1"))
THREADS = int(os.environ.get("BENCHMARK_THREADS", "1"))
ON_GPU = os.environ.get("BENCHMARK_PROVIDER") == "cuda"

# Batches pay on a GPU only.
MAX_BATCH = 16 if ON_GPU else 1


class Network:
    """Bytes to frames as the service decodes them, and frames ``[batch, F, F, 3]`` to the response body."""

    def __init__(self) -> None:
        self._bundle = load_bundle(Settings().bundle)
        run = _eager if os.environ["BENCHMARK_NETWORK"] == "eager" else _onnx
        self._run = run(self._bundle)

    def decode(self, picture: bytes) -> NDArray[np.uint8]:
        """The frame of a picture."""
        return self._bundle.read_picture(picture).frame

    def answer(self, frames: list[NDArray[np.uint8]]) -> list[dict[str, Any]]:
        """Diagnosis, probabilities and crop box of every frame; all outputs are computed, as the service does."""
        probabilities, branches, _, boxes, *_ = self._run(np.stack(frames))
        names = [c.name for c in self._bundle.manifest.classes]
        return [
            {
                "diagnosis": names[int(p.argmax())],
                "probabilities": dict(zip(names, p.tolist(), strict=True)),
                "branch_probabilities": b.tolist(),
                "crop_box": box.tolist(),
            }
            for p, b, box in zip(probabilities, branches, boxes, strict=True)
        ]


def _onnx(bundle: Any) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"] if ON_GPU else ["CPUExecutionProvider"]
    if ON_GPU:
        onnxruntime.preload_dlls()
    path = bundle.path(bundle.variant("fp32").file)
    session = onnxruntime.InferenceSession(path, options, providers=providers)
    return lambda frames: session.run(None, {"image": frames})


def _eager(bundle: Any) -> Any:
    """The same architecture with random weights: only its speed counts, and the shipped weights live in the graph."""
    import torch

    from model_training.config import load_config
    from model_training.evaluation.calibration import Calibration
    from model_training.network.lesion_area_attention import LesionAreaAttention, LesionLocator
    from model_training.release.deployed import DeployedCIN
    from model_training.training.recognition import build_network
    from tests.paths import REPOSITORY

    torch.set_num_threads(THREADS)
    network = load_config(REPOSITORY / "model_training" / "configs" / "cin-isic2017.toml", []).network
    locator = LesionLocator(
        LesionAreaAttention(input_size=network.area_size),
        size=network.size,
        threshold=network.crop_threshold,
        opening=network.crop_opening,
        margin=network.crop_margin,
    )
    num_classes = len(bundle.manifest.classes)
    cin = build_network(network, num_classes=num_classes)
    calibration = Calibration(torch.ones(2), torch.zeros(num_classes))
    device = "cuda" if ON_GPU else "cpu"
    deployed = DeployedCIN(
        locator,
        cin,
        size=network.size,
        calibration=calibration,
        canonical_orientation=network.canonical_orientation,
    )
    deployed = deployed.eval().to(device)

    def run(frames: NDArray[np.uint8]) -> list[NDArray[Any]]:
        with torch.inference_mode():
            return [output.cpu().numpy() for output in deployed(torch.from_numpy(frames).to(device))]

    return run
