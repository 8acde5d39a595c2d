"""ONNX Runtime sessions: start them on a provider, run them, and find out where they actually run."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from service.bundle import Bundle, TensorSpec, Variant

log = logging.getLogger(__name__)

Provider = Literal["cpu", "cuda", "tensorrt"]
Outputs = dict[str, NDArray[Any]]

_NAMES: dict[Provider, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}


@dataclass(frozen=True)
class GpuOptions:
    """Options of a session on a GPU."""

    memory_bytes: int | None = None
    # TensorRT builds for batches up to this size.
    largest_batch: int = 16
    # Folder where TensorRT keeps its engines, which take minutes to build.
    tensorrt_cache: Path | None = None
    # Memory layout of features in CUDA.
    channels_last: bool = False
    # Fix the batch size at 1, so that no shapes are computed at run time.
    single: bool = False
    # Record the kernels of a run as a CUDA graph, and launch them together afterwards; needs fixed shapes.
    graph: bool = False


class Session(Protocol):
    """A loaded graph."""

    def run(self, frames: NDArray[np.uint8]) -> Outputs:
        """Every output, by name, for frames ``[batch, F, F, 3]``."""


@dataclass(frozen=True)
class Sessions:
    """A session for batches, and one for single images; they may be the same."""

    batched: Session
    single: Session

    def distinct(self) -> list[Session]:
        """The sessions without duplicates."""
        return [self.batched] if self.single is self.batched else [self.batched, self.single]


class HostSession:
    """A graph on the CPU: arrays in, arrays out."""

    def __init__(self, graph: onnxruntime.InferenceSession, outputs: Sequence[TensorSpec]) -> None:
        self.graph, self._names = graph, [spec.name for spec in outputs]

    def run(self, frames: NDArray[np.uint8]) -> Outputs:
        """See :class:`Session`."""
        return dict(zip(self._names, self.graph.run(self._names, {"image": frames}), strict=True))


class _Bound(NamedTuple):
    """The device buffers of one batch size."""

    binding: Any
    image: Any
    outputs: dict[str, Any]


class DeviceSession:
    """A graph with fixed input and output buffers on the device for each batch size.

    So requests allocate nothing, and a recorded CUDA graph has its data at fixed addresses.
    """

    def __init__(
        self, graph: onnxruntime.InferenceSession, outputs: Sequence[TensorSpec], *, device: str = "cuda"
    ) -> None:
        self.graph, self._specs, self._device = graph, outputs, device
        self._bound: dict[int, _Bound] = {}

    def run(self, frames: NDArray[np.uint8]) -> Outputs:
        """See :class:`Session`."""
        bound = self._bound.get(len(frames))
        if bound is None:
            bound = self._bound[len(frames)] = self._bind(frames.shape)
        bound.image.update_inplace(np.ascontiguousarray(frames))
        self.graph.run_with_iobinding(bound.binding)
        return {name: np.array(value.numpy()) for name, value in bound.outputs.items()}

    def _bind(self, shape: tuple[int, ...]) -> _Bound:
        binding = self.graph.io_binding()
        image = onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, np.uint8, self._device)
        binding.bind_ortvalue_input("image", image)
        outputs = {}
        for spec in self._specs:
            sides = [shape[0], *(int(side) for side in spec.shape[1:])]
            outputs[spec.name] = onnxruntime.OrtValue.ortvalue_from_shape_and_type(
                sides, np.dtype(spec.dtype).type, self._device
            )
            binding.bind_ortvalue_output(spec.name, outputs[spec.name])
        return _Bound(binding, image, outputs)


def is_installed(provider: Provider) -> bool:
    """Whether ONNX Runtime has the provider; also loads CUDA's libraries from Python packages."""
    if _NAMES[provider] not in onnxruntime.get_available_providers():
        return False
    missing = StringIO()
    with redirect_stdout(missing):
        onnxruntime.preload_dlls()
    if text := missing.getvalue().strip():
        log.debug("%s", text)
    return True


def start(
    bundle: Bundle, variant: Variant, provider: Provider, *, threads: int, gpu: GpuOptions
) -> onnxruntime.InferenceSession:
    """Load a variant's graph; without a working GPU it runs on the CPU. Raises what ONNX Runtime raises."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # failures raise, or show in get_providers()
    # Spinning threads would take CPU time away from decoding.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers: list[Any] = [_NAMES["cpu"]]
    if provider != "cpu":
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        providers.insert(0, (_NAMES["cuda"], cuda_options(gpu)))
    if provider == "tensorrt":
        frame = bundle.manifest.frame_size
        providers.insert(0, (_NAMES["tensorrt"], tensorrt_options(gpu, frame, half_precision=variant.name == "fp16")))
    if gpu.single:
        options.add_free_dimension_override_by_name("batch", 1)
    return onnxruntime.InferenceSession(bundle.path(variant.file), options, providers=providers)


def provider_of(session: onnxruntime.InferenceSession) -> Provider:
    """Where ``session`` actually runs: ONNX Runtime falls back to the CPU without an error."""
    first = session.get_providers()[0]
    return next(provider for provider, name in _NAMES.items() if name == first)


def work_on_cpu(session: onnxruntime.InferenceSession) -> Counter[str]:
    """How many nodes of each operator a session on a GPU runs on the CPU.

    Use a session for single images: with a variable batch size, shapes are computed on the CPU, as they should be.
    """
    return Counter(
        node.op_type
        for part in session.get_provider_graph_assignment_info()
        if part.ep_name == _NAMES["cpu"]
        for node in part.get_nodes()
    )


def cuda_options(gpu: GpuOptions) -> dict[str, str]:
    """Options of ONNX Runtime's CUDA provider."""
    # TensorFloat-32 would change probabilities by more than the canary's tolerance.
    settings = {"arena_extend_strategy": "kSameAsRequested", "use_tf32": "0"}
    if gpu.memory_bytes is not None:
        settings["gpu_mem_limit"] = str(gpu.memory_bytes)
    if gpu.channels_last:
        settings["prefer_nhwc"] = "1"
    if gpu.graph:
        settings["enable_cuda_graph"] = "1"
    return settings


def tensorrt_options(gpu: GpuOptions, frame_size: int, *, half_precision: bool) -> dict[str, str]:
    """Options of ONNX Runtime's TensorRT provider."""
    frame = f"{frame_size}x{frame_size}x3"
    settings = {
        "trt_fp16_enable": "1" if half_precision else "0",
        "trt_profile_min_shapes": f"image:1x{frame}",
        "trt_profile_opt_shapes": f"image:{gpu.largest_batch}x{frame}",
        "trt_profile_max_shapes": f"image:{gpu.largest_batch}x{frame}",
    }
    if gpu.tensorrt_cache is not None:
        folder = str(gpu.tensorrt_cache)
        settings |= {"trt_engine_cache_enable": "1", "trt_engine_cache_path": folder}
        settings |= {"trt_timing_cache_enable": "1", "trt_timing_cache_path": folder}
    return settings
