"""ONNX Runtime behind one small class: frames in, the graph's outputs out, and the truth about the provider."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from service.bundle import FEATURES, Bundle, Variant
from service.inference.sessions import (
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

# What ONNX Runtime, CUDA, cuBLAS and cuDNN say where there is no memory; nothing else tells it from other failures.
_NO_MEMORY = ("failed to allocate memory", "out of memory", "alloc_failed", "bad_alloc")

# How far from 1 the sum of probabilities may be; float16 arithmetic stays well within.
_SUM_TOLERANCE = 5e-3

_FINITE = {"crop_box", "lesion_fraction", "spatial_attention", "correlation_attention", FEATURES}


class EngineError(RuntimeError):
    """The engine cannot be started, or gave outputs that cannot be true."""


class DeviceError(EngineError):
    """ONNX Runtime itself failed, or what it runs on errs: nothing it answers can be trusted any more.

    Every input has the same shape and type, so this is never the picture's fault. ``reason`` can be told to anybody.
    """

    def __init__(self, reason: str, detail: object = None) -> None:
        super().__init__(reason if detail is None else f"{reason}: {detail}")
        self.reason = reason


class OutOfMemory(EngineError):  # noqa: N818 - named for what happened
    """The device had no memory for this batch; a smaller one, or the same one later, may find some."""


@dataclass(frozen=True)
class Answer:
    """The graph's outputs for one picture; None for a network without lesion feature attention, or without features."""

    probabilities: NDArray[np.float32]  # [K]
    branch_probabilities: NDArray[np.float32]  # [2, K]
    lesion_attention: NDArray[np.uint8]  # [S, S]
    crop_box: NDArray[np.float32]  # [4], x0, y0, x1, y1 as fractions of the picture
    lesion_fraction: float
    spatial_attention: NDArray[np.float32] | None  # [2, h, w]
    correlation_attention: NDArray[np.float32] | None  # [2, h*w, h*w]
    features: NDArray[np.float32] | None = None  # [2, C], pooled in each branch


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
        # Each session's last picture, with its answer.
        self._latest: dict[Session, tuple[NDArray[np.uint8], Answer]] = {}
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

        Raises :class:`OutOfMemory`; :class:`DeviceError` when ONNX Runtime fails or its answers show that the device
        errs; and :class:`EngineError` for outputs that cannot be true of these frames alone.
        """
        alone = len(frames) == 1 if self.provider != "cpu" else not spread
        session = self._single if alone else self._session
        try:
            answers = self._run(session, frames)
        except (DeviceError, OutOfMemory):
            raise
        except EngineError as error:
            self._tell_device_from_picture(session, frames, error)
            raise
        self._watch(session, frames, answers)
        return answers

    def _watch(self, session: Session, frames: NDArray[np.uint8], answers: list[Answer]) -> None:
        """Raise :class:`DeviceError` when different pictures get the same answer because the device is stuck."""
        given = list(zip(frames, answers, strict=True))
        latest, self._latest[session] = self._latest.get(session), given[-1]
        given = given if latest is None else [latest, *given]
        for (frame, answer), (next_frame, next_answer) in itertools.pairwise(given):
            if _same_answer(answer, next_answer) and not np.array_equal(frame, next_frame):
                self._check(session, "different pictures got the same answer")
                return  # they differ only where the network does not look

    def _tell_device_from_picture(self, session: Session, frames: NDArray[np.uint8], error: EngineError) -> None:
        """Raise :class:`DeviceError` when outputs that cannot be true are the device's fault."""
        try:
            self._run(session, frames)
        except DeviceError:
            raise
        except EngineError:
            self._check(session, str(error))
            return
        raise DeviceError(f"{error}, but do when the same pictures are run again")

    def _check(self, session: Session, suspicion: str) -> None:
        """Raise :class:`DeviceError` when the known picture does not get its known answer."""
        try:
            difference = self._known_answer_difference(session, 1)
        except EngineError as error:
            raise DeviceError(f"{suspicion}, and the canary picture failed", error) from error
        if difference > self.bundle.canary_tolerance(self.variant.name):
            raise DeviceError(f"{suspicion}, and the canary picture's probabilities differ by {difference:.2g}")

    def _run(self, session: Session, frames: NDArray[np.uint8]) -> list[Answer]:
        try:
            outputs = session.run(frames)
        except Exception as error:
            if any(words in str(error).lower() for words in _NO_MEMORY):
                raise OutOfMemory(f"no memory for a batch of {len(frames)}: {error}") from error
            raise DeviceError("ONNX Runtime failed", error) from error
        for name in ("probabilities", "branch_probabilities"):
            _check_probabilities(outputs[name], name)
        for name in _FINITE & outputs.keys():
            if not np.isfinite(outputs[name]).all():
                raise EngineError(f"{name} is not finite")
        return [self._answer(outputs, index) for index in range(len(frames))]

    def _answer(self, outputs: dict[str, NDArray[Any]], index: int) -> Answer:
        def optional(name: str) -> NDArray[np.float32] | None:
            return outputs[name][index].astype(np.float32, copy=False) if name in outputs else None

        return Answer(
            probabilities=outputs["probabilities"][index],
            branch_probabilities=outputs["branch_probabilities"][index],
            lesion_attention=outputs["lesion_attention"][index],
            crop_box=outputs["crop_box"][index].clip(0.0, 1.0),
            lesion_fraction=float(outputs["lesion_fraction"][index].clip(0.0, 1.0)),
            spatial_attention=optional("spatial_attention"),
            correlation_attention=optional("correlation_attention"),
            features=optional(FEATURES),
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

        Asked by itself, and as often as the largest batch holds. Raises :class:`EngineError` also when another picture
        gets the very same answer.
        """
        differences = []
        for session in self._sessions():
            for batch in {1, self._largest_batch if session is self._session else 1}:
                differences.append(self._known_answer_difference(session, batch))
        return max(differences)

    def _known_answer_difference(self, session: Session, batch: int) -> float:
        frames = np.repeat(self.canary_frame[None], batch, axis=0)
        other = self._run(session, 255 - frames)
        answers = self._run(session, frames)
        if any(_same_answer(*pair) for pair in zip(other, answers, strict=True)):
            raise EngineError("the canary picture and its negative get the same answer")
        return max(self.difference_from_canary(answer) for answer in answers)

    @property
    def canary_frame(self) -> NDArray[np.uint8]:
        """The known picture's frame ``[F, F, 3]``."""
        return self.bundle.read_picture(self.bundle.path(self.bundle.manifest.canary.picture).read_bytes()).frame

    @cached_property
    def _canary_outputs(self) -> dict[str, NDArray[Any]]:
        return self.bundle.canary_outputs(self.variant.name)

    def difference_from_canary(self, answer: Answer) -> float:
        """Largest difference of any probability of an answer from the known one."""
        expected = self._canary_outputs
        return float(
            max(
                np.abs(answer.probabilities - expected["probabilities"][0]).max(),
                np.abs(answer.branch_probabilities - expected["branch_probabilities"][0]).max(),
            )
        )


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


def _same_answer(one: Answer, other: Answer) -> bool:
    """Whether two answers are equal to the last bit, which those of different pictures are not."""
    return np.array_equal(one.branch_probabilities, other.branch_probabilities) and np.array_equal(
        one.lesion_attention, other.lesion_attention
    )


def _check_probabilities(values: NDArray[np.float32], name: str) -> None:
    # NaN compares false, so it is caught as well.
    if not (np.abs(values.sum(axis=-1) - 1.0) < _SUM_TOLERANCE).all() or not (values >= 0.0).all():
        raise EngineError(f"{name} do not sum to 1")
