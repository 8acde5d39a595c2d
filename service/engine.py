"""ONNX Runtime behind one small class: frames in, the graph's outputs out, and the truth about the provider."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from service.bundle import Bundle, Variant
from service.settings import ProviderChoice, VariantChoice

log = logging.getLogger(__name__)

Provider = Literal["cpu", "cuda"]
_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"

# How far from 1 the sum of probabilities may be; float16 arithmetic stays well within.
_SUM_TOLERANCE = 5e-3


class EngineError(RuntimeError):
    """The engine cannot be started, or gave outputs that cannot be true."""


class DeviceError(EngineError):
    """ONNX Runtime itself failed. Every input has the same shape and type, so this is never the picture's fault."""


@dataclass(frozen=True)
class Answer:
    """The graph's outputs for one picture; the last two are None for a network without lesion feature attention."""

    probabilities: NDArray[np.float32]  # [K]
    branch_probabilities: NDArray[np.float32]  # [2, K]
    lesion_attention: NDArray[np.uint8]  # [S, S]
    crop_box: NDArray[np.float32]  # [4], x0, y0, x1, y1 as fractions of the picture
    lesion_fraction: float
    spatial_attention: NDArray[np.float32] | None  # [2, h, w]
    correlation_attention: NDArray[np.float32] | None  # [2, h*w, h*w]


class Engine:
    """One bundle's variant, loaded; up to ``lanes`` threads may run it at once.

    On a CPU a picture by itself may spread over every core, which makes it wait least; where no core is idle it gets
    one, which makes more pictures a second. ONNX Runtime fixes that choice for a session, so there are two.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        variant: VariantChoice = "auto",
        provider: ProviderChoice = "auto",
        require_gpu: bool = False,
        gpu_memory_bytes: int | None = None,
        threads: int,
    ) -> None:
        """Load the graph. ``threads`` is how many cores of a CPU it may use.

        Raises :class:`BundleError` for a variant the bundle lacks, and :class:`EngineError` when the graph does not
        load or the GPU that was asked for does not work.
        """
        self.bundle = bundle
        self._gpu_memory_bytes = gpu_memory_bytes
        self._outputs = [spec.name for spec in bundle.manifest.outputs]
        if provider == "auto" and not require_gpu:
            # No GPU is no error here; where one is required, ONNX Runtime's words on what is missing help.
            onnxruntime.set_default_logger_severity(4)
        on_gpu = provider != "cpu" and _cuda_is_installed()
        self.variant = _choose_variant(bundle, variant, on_gpu=on_gpu)
        self._session = self._start(on_gpu=on_gpu, threads=threads)
        # ONNX Runtime falls back to the CPU without an error, so only the session itself knows.
        self.provider: Provider = "cuda" if self._session.get_providers()[0] == _CUDA else "cpu"
        if self.provider == "cpu" and (require_gpu or provider == "cuda"):
            raise EngineError("a GPU is required but ONNX Runtime runs on the CPU; check the driver, CUDA and cuDNN")
        if self.provider == "cpu" and on_gpu and variant == "auto":
            self.variant = _choose_variant(bundle, variant, on_gpu=False)
            self._session = self._start(on_gpu=False, threads=threads)
        self.lanes = threads if self.provider == "cpu" else 1
        self._one_core = self._session if self.lanes == 1 else self._start(on_gpu=False, threads=1)

    def _start(self, *, on_gpu: bool, threads: int) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what goes wrong is an exception, or shows in get_providers()
        # Decoding shares the CPUs with inference; spinning threads would take them away.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers: list[Any] = [_CPU]
        if on_gpu:
            # TensorFloat-32 would move probabilities by more than the canary allows.
            settings = {"arena_extend_strategy": "kSameAsRequested", "use_tf32": "0"}
            if self._gpu_memory_bytes is not None:
                settings["gpu_mem_limit"] = str(self._gpu_memory_bytes)
            providers.insert(0, (_CUDA, settings))
        try:
            path = self.bundle.path(self.variant.file)
            session = onnxruntime.InferenceSession(path, options, providers=providers)
        except Exception as error:
            raise EngineError(f"ONNX Runtime cannot load {self.variant.file}: {error}") from error
        if missing := set(self._outputs) - {output.name for output in session.get_outputs()}:
            raise EngineError(f"{self.variant.file} lacks the outputs {', '.join(sorted(missing))}")
        return session

    def run(self, frames: NDArray[np.uint8], *, spread: bool = True) -> list[Answer]:
        """Run frames ``[batch, F, F, 3]``, sRGB; on one core of a CPU unless it may ``spread``.

        Raises :class:`DeviceError` when ONNX Runtime fails, :class:`EngineError` for outputs that cannot be true.
        """
        return self._run(self._session if spread else self._one_core, frames)

    def _run(self, session: onnxruntime.InferenceSession, frames: NDArray[np.uint8]) -> list[Answer]:
        try:
            values = session.run(self._outputs, {"image": frames})
        except Exception as error:
            raise DeviceError(f"ONNX Runtime failed: {error}") from error
        outputs = dict(zip(self._outputs, values, strict=True))
        for name in ("probabilities", "branch_probabilities"):
            _check_probabilities(outputs[name], name)
        for name in ("crop_box", "lesion_fraction"):
            if not np.isfinite(outputs[name]).all():
                raise EngineError(f"{name} is not finite")
        return [self._answer(outputs, index) for index in range(len(frames))]

    def _answer(self, outputs: dict[str, NDArray[Any]], index: int) -> Answer:
        def feature_attention(name: str) -> NDArray[np.float32] | None:
            return outputs[name][index].astype(np.float32, copy=False) if name in outputs else None

        return Answer(
            probabilities=outputs["probabilities"][index],
            branch_probabilities=outputs["branch_probabilities"][index],
            lesion_attention=outputs["lesion_attention"][index],
            crop_box=outputs["crop_box"][index].clip(0.0, 1.0),
            lesion_fraction=float(outputs["lesion_fraction"][index].clip(0.0, 1.0)),
            spatial_attention=feature_attention("spatial_attention"),
            correlation_attention=feature_attention("correlation_attention"),
        )

    def warm_up(self, batch_sizes: Sequence[int]) -> None:
        """Run every batch size once, so that no request pays for memory and the choice of algorithms."""
        size = self.bundle.manifest.frame_size
        for session in self._sessions():
            for batch in batch_sizes:
                self._run(session, np.zeros((batch, size, size, 3), dtype=np.uint8))

    def _sessions(self) -> list[onnxruntime.InferenceSession]:
        return [self._session] if self._one_core is self._session else [self._session, self._one_core]

    def canary_difference(self) -> float:
        """Largest difference of any probability for the canary picture from what the bundle says it must be."""
        picture = self.bundle.read_picture(self.bundle.path(self.bundle.manifest.canary.picture).read_bytes())
        expected = self.bundle.canary_outputs(self.variant.name)
        differences = []
        for session in self._sessions():
            (answer,) = self._run(session, picture.frame[None])
            differences += [
                np.abs(answer.probabilities - expected["probabilities"][0]).max(),
                np.abs(answer.branch_probabilities - expected["branch_probabilities"][0]).max(),
            ]
        return float(max(differences))


def _choose_variant(bundle: Bundle, variant: VariantChoice, *, on_gpu: bool) -> Variant:
    if variant != "auto":
        return bundle.variant(variant)
    fastest = "fp16" if on_gpu else "int8" if multiplies_int8_fast() else "fp32"
    return bundle.variant(fastest if fastest in [v.name for v in bundle.manifest.variants] else "fp32")


def multiplies_int8_fast(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the CPU adds up products of 8-bit numbers in one instruction.

    On others int8 gains little, and on x86 intermediate sums overflow, so that answers differ.
    """
    try:
        flags = set(cpuinfo.read_text(encoding="utf-8").split())
    except OSError:
        return False
    return not flags.isdisjoint(("avx512_vnni", "avx_vnni", "asimddp"))


def _cuda_is_installed() -> bool:
    """Whether it is worth asking for CUDA; makes its libraries loadable where they came as Python packages."""
    if _CUDA not in onnxruntime.get_available_providers():
        return False
    missing = StringIO()
    with redirect_stdout(missing):
        onnxruntime.preload_dlls()
    if text := missing.getvalue().strip():
        log.debug("%s", text)
    return True


def _check_probabilities(values: NDArray[np.float32], name: str) -> None:
    # NaN compares false, so it is caught as well.
    if not (np.abs(values.sum(axis=-1) - 1.0) < _SUM_TOLERANCE).all() or not (values >= 0.0).all():
        raise EngineError(f"{name} do not sum to 1")
