"""A bundle's network, ready to run: frames in, the graph's outputs out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from service.bundle import Bundle, Variant
from service.inference.answers import Answer, run
from service.inference.selection import ProviderChoice, VariantChoice, select
from service.inference.self_check import SelfCheck
from service.inference.sessions import GpuOptions, Provider, Session
from service.inference.tuning import fastest_sessions


class Engine:
    """One loaded variant of a bundle; up to ``workers`` threads may run it at once.

    On a CPU there are two sessions: a multithreaded one with the lowest latency, and a single-threaded one with the
    highest throughput when every CPU is busy. On a GPU there is one for batches, and a second one for single images
    where that is faster.
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
        """Load the graph; a multithreaded run has ``threads`` CPU threads.

        Raises :class:`BundleError` for a variant the bundle lacks, and :class:`EngineError` when the graph does not
        load, the requested GPU does not work, or a required GPU would leave work to the CPU.
        """
        self.bundle = bundle
        self.selection, self.sessions = select(
            bundle,
            variant=variant,
            provider=provider,
            require_gpu=require_gpu,
            gpu=gpu or GpuOptions(),
            threads=threads,
        )
        self.workers = threads if self.provider == "cpu" else 1
        self._check = SelfCheck(bundle, self.variant)
        self._largest_batch = 1  # until warmed up

    @property
    def variant(self) -> Variant:
        """The precision variant in use."""
        return self.selection.variant

    @property
    def provider(self) -> Provider:
        """The execution provider that actually runs the network."""
        return self.selection.provider

    def run(self, frames: NDArray[np.uint8], *, multithreaded: bool = True) -> list[Answer]:
        """Run frames ``[batch, F, F, 3]``, sRGB; ``multithreaded`` matters only on a CPU.

        Raises :class:`OutOfMemory`; :class:`DeviceError` when ONNX Runtime fails or its outputs show that the device
        does; and :class:`EngineError` for outputs that are impossible for these frames alone.
        """
        single = len(frames) == 1 if self.provider != "cpu" else not multithreaded
        return self._check.run(self.sessions.single if single else self.sessions.batched, frames)

    def warm_up(self, batch_sizes: Sequence[int]) -> None:
        """On a GPU choose the fastest sessions; then run every batch size once.

        So no request waits for memory allocation or for the choice of algorithms.
        """
        self._largest_batch = max(batch_sizes)
        if self.provider == "cuda":
            self.sessions = fastest_sessions(
                self.sessions,
                self.selection.load_on_device,
                self.selection.gpu,
                batch=self._blank(self._largest_batch),
                single=self._blank(1),
            )
        for session in self.sessions.distinct():
            for batch in self._sizes(session, batch_sizes):
                run(session, self._blank(batch))

    def canary_difference(self) -> float:
        """Largest difference of a canary probability from the bundle's, over all sessions.

        The canary runs alone and as the largest batch. Raises :class:`EngineError`, also when another image gets the
        same answer.
        """
        return max(
            self._check.canary_difference(session, batch)
            for session in self.sessions.distinct()
            for batch in {1, *self._sizes(session, [self._largest_batch])}
        )

    @property
    def canary_frame(self) -> NDArray[np.uint8]:
        """The canary's frame ``[F, F, 3]``."""
        return self._check.canary_frame

    def difference_from_canary(self, answer: Answer) -> float:
        """Largest difference of a probability in an answer for the canary from the bundle's."""
        return self._check.difference(answer)

    def _sizes(self, session: Session, batch_sizes: Sequence[int]) -> Sequence[int]:
        return batch_sizes if session is self.sessions.batched else [1]

    def _blank(self, batch: int) -> NDArray[np.uint8]:
        size = self.bundle.manifest.frame_size
        return np.zeros((batch, size, size, 3), dtype=np.uint8)
