"""ONNX Runtime behind one small class: frames in, the graph's outputs out, and the truth about the provider."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from service.bundle import Bundle, Variant
from service.sessions import (
    DeviceSession,
    GpuOptions,
    HostSession,
    Provider,
    Session,
    is_faster,
    is_installed,
    provider_of,
    start,
    work_on_cpu,
)
from service.settings import ProviderChoice, VariantChoice

log = logging.getLogger(__name__)

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
    one, which makes more pictures a second. ONNX Runtime fixes that choice for a session, so there are two. On a GPU
    there is one for batches, and where that is faster another one for single pictures.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        variant: VariantChoice = "auto",
        provider: ProviderChoice = "auto",
        require_gpu: bool = False,
        gpu: GpuOptions | None = None,
        threads: int,
    ) -> None:
        """Load the graph. ``threads`` is how many cores of a CPU it may use.

        Raises :class:`BundleError` for a variant the bundle lacks, and :class:`EngineError` when the graph does not
        load, the GPU that was asked for does not work, or one that is required would leave work to the CPU.
        """
        self.bundle = bundle
        self._gpu = _for_each_session(gpu or GpuOptions())
        self._threads = threads
        self._largest_batch = 1  # until warmed up
        self._outputs = bundle.manifest.outputs
        if provider == "auto" and not require_gpu:
            # No GPU is no error here; where one is required, ONNX Runtime's words on what is missing help.
            onnxruntime.set_default_logger_severity(4)
        wanted: Provider = "cuda" if provider == "auto" else provider
        if wanted != "cpu" and not is_installed(wanted):
            wanted = "cpu"
        self.variant = _choose_variant(bundle, variant, wanted)
        session = self._start(wanted)
        self.provider: Provider = provider_of(session)
        if self.provider == "cpu" and (require_gpu or provider == "cuda"):
            raise EngineError("a GPU is required but ONNX Runtime runs on the CPU; check the driver, CUDA and cuDNN")
        if self.provider != "tensorrt" and provider == "tensorrt":
            raise EngineError(
                f"TensorRT is asked for but ONNX Runtime runs on {self.provider}; check the driver, and that "
                "TensorRT's libraries are where the system looks for them (LD_LIBRARY_PATH)"
            )
        if self.provider != wanted and variant == "auto":
            self.variant = _choose_variant(bundle, variant, self.provider)
            session = self._start(self.provider)
        if self.provider == "cpu":
            self.lanes = threads
            self._session: Session = HostSession(session, self._outputs)
            one_core = session if threads == 1 else self._start("cpu", threads=1)
            self._single: Session = HostSession(one_core, self._outputs)
        else:
            self.lanes = 1
            self._check_placement(required=require_gpu)
            self._session = self._single = DeviceSession(session, self._outputs)

    def _start(
        self, provider: Provider, *, threads: int | None = None, gpu: GpuOptions | None = None
    ) -> onnxruntime.InferenceSession:
        try:
            session = start(self.bundle, self.variant, provider, threads=threads or self._threads, gpu=gpu or self._gpu)
        except Exception as error:
            raise EngineError(f"ONNX Runtime cannot load {self.variant.file}: {error}") from error
        if missing := {spec.name for spec in self._outputs} - {output.name for output in session.get_outputs()}:
            raise EngineError(f"{self.variant.file} lacks the outputs {', '.join(sorted(missing))}")
        return session

    def _check_placement(self, *, required: bool) -> None:
        """ONNX Runtime computes on the CPU, without a word, what it cannot place on the GPU."""
        if left := work_on_cpu(self._start(self.provider, gpu=replace(self._gpu, single=True))):
            operators = ", ".join(f"{num} {name}" for name, num in left.most_common())
            message = f"{self.provider} leaves these operators of {self.variant.file} to the CPU: {operators}"
            if required:
                raise EngineError(f"{message}; export the network for this version of ONNX Runtime")
            log.warning("%s", message)

    def run(self, frames: NDArray[np.uint8], *, spread: bool = True) -> list[Answer]:
        """Run frames ``[batch, F, F, 3]``, sRGB; on one core of a CPU unless it may ``spread``.

        Raises :class:`DeviceError` when ONNX Runtime fails, :class:`EngineError` for outputs that cannot be true.
        """
        alone = len(frames) == 1 if self.provider != "cpu" else not spread
        return self._run(self._single if alone else self._session, frames)

    def _run(self, session: Session, frames: NDArray[np.uint8]) -> list[Answer]:
        try:
            outputs = session.run(frames)
        except Exception as error:
            raise DeviceError(f"ONNX Runtime failed: {error}") from error
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
        """Run every batch size once, so that no request pays for memory and the choice of algorithms.

        On a GPU, first take what is fastest on it.
        """
        self._largest_batch = max(batch_sizes)
        if self.provider == "cuda":
            self._tune()
        for session in self._sessions():
            for batch in batch_sizes if session is self._session else [1]:
                self._run(session, self._blank(batch))

    def _tune(self) -> None:
        """Take the way that is fastest here, for the largest batch and for single pictures each."""
        first, last = self._gpu, replace(self._gpu, channels_last=True)
        self._session = self._fastest("batches", self._session, [last], self._blank(self._largest_batch))
        recorded = [replace(layout, single=True, graph=True) for layout in (first, last)]
        self._single = self._fastest("single pictures", self._single, [last, *recorded], self._blank(1))

    def _fastest(self, what: str, session: Session, ways: Sequence[GpuOptions], frames: NDArray[np.uint8]) -> Session:
        """``session``, unless one of the other ways to run ``frames`` is faster."""
        taken = "channels first"
        for gpu in ways:
            way = f"channels {'last' if gpu.channels_last else 'first'}{', recorded' if gpu.graph else ''}"
            try:
                other = DeviceSession(self._start(self.provider, gpu=gpu), self._outputs)
                if is_faster(other, session, frames):
                    session, taken = other, way
            except Exception as error:  # what this GPU or graph cannot do is no way to take
                log.info("%s are not possible with %s: %s", what, way, error)
        log.info("%s run with %s", what, taken)
        return session

    def _blank(self, batch: int) -> NDArray[np.uint8]:
        size = self.bundle.manifest.frame_size
        return np.zeros((batch, size, size, 3), dtype=np.uint8)

    def _sessions(self) -> list[Session]:
        return [self._session] if self._single is self._session else [self._session, self._single]

    def canary_difference(self) -> float:
        """Largest difference of any probability for the canary picture from what the bundle says it must be.

        Asked by itself, and as often as the largest batch holds.
        """
        picture = self.bundle.read_picture(self.bundle.path(self.bundle.manifest.canary.picture).read_bytes())
        expected = self.bundle.canary_outputs(self.variant.name)
        differences = []
        for session in self._sessions():
            for batch in {1, self._largest_batch if session is self._session else 1}:
                for answer in self._run(session, np.repeat(picture.frame[None], batch, axis=0)):
                    differences += [
                        np.abs(answer.probabilities - expected["probabilities"][0]).max(),
                        np.abs(answer.branch_probabilities - expected["branch_probabilities"][0]).max(),
                    ]
        return float(max(differences))


def _for_each_session(gpu: GpuOptions) -> GpuOptions:
    """What each session is told: two may share the memory, and a third one while ways are compared."""
    return gpu if gpu.memory_bytes is None else replace(gpu, memory_bytes=gpu.memory_bytes // 3)


def _choose_variant(bundle: Bundle, variant: VariantChoice, provider: Provider) -> Variant:
    if variant != "auto":
        return bundle.variant(variant)
    fastest = "fp16" if provider != "cpu" else "int8" if multiplies_int8_fast() else "fp32"
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


def _check_probabilities(values: NDArray[np.float32], name: str) -> None:
    # NaN compares false, so it is caught as well.
    if not (np.abs(values.sum(axis=-1) - 1.0) < _SUM_TOLERANCE).all() or not (values >= 0.0).all():
        raise EngineError(f"{name} do not sum to 1")
