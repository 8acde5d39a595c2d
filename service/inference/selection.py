"""Choose where a bundle runs: the execution provider, the precision variant and the sessions."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import onnxruntime

from service.bundle import Bundle, Variant
from service.inference.answers import EngineError
from service.inference.sessions import (
    DeviceSession,
    GpuOptions,
    HostSession,
    Provider,
    Session,
    Sessions,
    is_installed,
    provider_of,
    start,
    work_on_cpu,
)

log = logging.getLogger(__name__)

ProviderChoice = Literal["auto", "cpu", "cuda", "tensorrt"]
VariantChoice = Literal["auto", "fp32", "fp16", "int8"]


@dataclass(frozen=True)
class Selection:
    """A variant of a bundle on an execution provider."""

    bundle: Bundle
    variant: Variant
    provider: Provider
    threads: int
    gpu: GpuOptions

    def load(self, *, threads: int | None = None, gpu: GpuOptions | None = None) -> onnxruntime.InferenceSession:
        """Load the graph. Raises :class:`EngineError` when it does not load or lacks an output."""
        file, threads, gpu = self.variant.file, threads or self.threads, gpu or self.gpu
        try:
            graph = start(self.bundle, self.variant, self.provider, threads=threads, gpu=gpu)
        except Exception as error:
            raise EngineError(f"ONNX Runtime cannot load {file}: {error}") from error
        outputs = {spec.name for spec in self.bundle.manifest.outputs}
        if missing := outputs - {output.name for output in graph.get_outputs()}:
            raise EngineError(f"{file} lacks the outputs {', '.join(sorted(missing))}")
        return graph

    def load_on_device(self, gpu: GpuOptions) -> Session:
        """A session on the GPU with other options."""
        return DeviceSession(self.load(gpu=gpu), self.bundle.manifest.outputs)

    def sessions(self, graph: onnxruntime.InferenceSession) -> Sessions:
        """Sessions for batches and for single images, from the loaded graph."""
        outputs = self.bundle.manifest.outputs
        if self.provider == "cpu":
            # ONNX Runtime fixes the number of threads when a session is created.
            single_threaded = graph if self.threads == 1 else self.load(threads=1)
            return Sessions(batched=HostSession(graph, outputs), single=HostSession(single_threaded, outputs))
        session = DeviceSession(graph, outputs)
        return Sessions(batched=session, single=session)

    def check_placement(self, *, required: bool) -> None:
        """Warn of operators that ONNX Runtime silently runs on the CPU; raise if a GPU is ``required``."""
        # With fixed shapes the graph has no shape computations, which belong on the CPU.
        if left := work_on_cpu(self.load(gpu=replace(self.gpu, single=True))):
            operators = ", ".join(f"{num} {name}" for name, num in left.most_common())
            message = f"{self.provider} leaves these operators of {self.variant.file} to the CPU: {operators}"
            if required:
                raise EngineError(f"{message}; export the network for this version of ONNX Runtime")
            log.warning("%s", message)


def select(
    bundle: Bundle,
    *,
    variant: VariantChoice,
    provider: ProviderChoice,
    require_gpu: bool,
    gpu: GpuOptions,
    threads: int,
) -> tuple[Selection, Sessions]:
    """The variant and provider that will actually run, with their sessions.

    Raises :class:`BundleError` for a variant the bundle lacks, and :class:`EngineError` when the graph does not load,
    the requested provider does not work, or a required GPU would leave work to the CPU.
    """
    if provider == "auto" and not require_gpu:
        # Without a GPU, ONNX Runtime logs missing libraries, which is an error only where a GPU is required.
        onnxruntime.set_default_logger_severity(4)
    wanted: Provider = "cuda" if provider == "auto" else provider
    if wanted != "cpu" and not is_installed(wanted):
        wanted = "cpu"
    selection = Selection(bundle, choose_variant(bundle, variant, wanted), wanted, threads, _share_memory(gpu))
    graph = selection.load()
    actual = provider_of(graph)
    _check_provider(actual, provider, require_gpu=require_gpu)
    if actual != wanted:
        selection = replace(selection, provider=actual, variant=choose_variant(bundle, variant, actual))
        if variant == "auto":
            graph = selection.load()
    if actual != "cpu":
        selection.check_placement(required=require_gpu)
    return selection, selection.sessions(graph)


def _check_provider(actual: Provider, provider: ProviderChoice, *, require_gpu: bool) -> None:
    if actual == "cpu" and (require_gpu or provider == "cuda"):
        raise EngineError("a GPU is required but ONNX Runtime runs on the CPU; check the driver, CUDA and cuDNN")
    if actual != "tensorrt" and provider == "tensorrt":
        raise EngineError(
            f"TensorRT is asked for but ONNX Runtime runs on {actual}; check the driver, and that "
            "TensorRT's libraries are where the system looks for them (LD_LIBRARY_PATH)"
        )


def _share_memory(gpu: GpuOptions) -> GpuOptions:
    """Divide the limit among sessions: two in use, and a third while the fastest are chosen."""
    return gpu if gpu.memory_bytes is None else replace(gpu, memory_bytes=gpu.memory_bytes // 3)


def choose_variant(bundle: Bundle, variant: VariantChoice, provider: Provider) -> Variant:
    """The variant that runs on a provider: the one asked for, or the fastest that the bundle has.

    Raises :class:`BundleError` for one that it lacks.
    """
    if variant != "auto":
        return bundle.variant(variant)
    fastest = "fp16" if provider != "cpu" else "int8" if multiplies_int8_fast() else "fp32"
    return bundle.variant(fastest if fastest in [v.name for v in bundle.manifest.variants] else "fp32")


def multiplies_int8_fast(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the CPU has a dot product instruction for 8-bit integers.

    Without it int8 gains little, and on x86 intermediate sums saturate, which changes answers.
    """
    try:
        flags = set(cpuinfo.read_text(encoding="utf-8").split())
    except OSError:
        return False
    return not flags.isdisjoint(("avx512_vnni", "avx_vnni", "asimddp"))
