"""Tell a failing device from an unusual image with the canary, an image whose answer is known."""

from __future__ import annotations

import itertools
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.bundle import Bundle, FeatureDistance, Variant, differences, interpret
from service.inference.answers import Answer, CanaryError, DeviceError, EngineError, OutOfMemory, are_identical, run
from service.inference.sessions import Session

Frames = NDArray[np.uint8]  # [batch, F, F, 3]


class SelfCheck:
    """Checks sessions of one variant against the bundle's canary."""

    def __init__(self, bundle: Bundle, variant: Variant) -> None:
        self._bundle, self._variant = bundle, variant
        # The last frame and answer of each session.
        self._latest: dict[Session, tuple[NDArray[np.uint8], Answer]] = {}

    @property
    def canary_frame(self) -> NDArray[np.uint8]:
        """The canary's frame ``[F, F, 3]``, decoded each time to check the decoder as well."""
        return self._bundle.canary_picture().frame

    @cached_property
    def _expected(self) -> dict[str, NDArray[Any]]:
        return self._bundle.canary_outputs(self._variant.name)

    @cached_property
    def _distance(self) -> FeatureDistance | None:
        return self._bundle.feature_distance()

    def difference(self, answer: Answer) -> float:
        """Largest difference of a probability in an answer for the canary from the bundle's."""
        names = ("probabilities", "branch_probabilities")
        return float(max(np.abs(getattr(answer, name) - self._expected[name][0]).max() for name in names))

    def canary_difference(self, session: Session, batch: int) -> float:
        """The :meth:`difference` of a batch of canaries.

        Raises :class:`EngineError`, also when the canary and its negative get the same answer, and
        :class:`CanaryError` when the prediction is not the one expected by the bundle.
        """
        frame = self.canary_frame
        frames = np.repeat(frame[None], batch, axis=0)
        negatives = run(session, 255 - frames)
        answers = run(session, frames)
        if any(are_identical(*pair) for pair in zip(negatives, answers, strict=True)):
            raise EngineError("the canary image and its negative get the same answer")
        self._check_meaning(frame, answers[0])
        return max(self.difference(answer) for answer in answers)

    def _check_meaning(self, frame: NDArray[np.uint8], answer: Answer) -> None:
        """Raise :class:`CanaryError` unless the prediction is the expected one, which older bundles do not have."""
        expected = self._variant.canary_prediction
        if expected is None:
            return
        found = interpret(
            self._bundle.manifest,
            frame=frame,
            probabilities_K=answer.probabilities,
            features=answer.features,
            distance=self._distance,
        )
        tolerance = self._bundle.canary_tolerance(self._variant.name)
        if wrong := differences(found, expected, tolerance=tolerance):
            raise CanaryError(f"the canary image gets another prediction than the bundle expects: {'; '.join(wrong)}")

    def run(self, session: Session, frames: Frames) -> list[Answer]:
        """The answers for frames.

        Raises :class:`DeviceError` when the outputs show that the device fails, and :class:`EngineError` when they are
        impossible for these frames only.
        """
        try:
            answers = run(session, frames)
        except (DeviceError, OutOfMemory):
            raise
        except EngineError as error:
            self._blame_device_or_picture(session, frames, error)
            raise
        self._check_not_stuck(session, frames, answers)
        return answers

    def _blame_device_or_picture(self, session: Session, frames: Frames, error: EngineError) -> None:
        """Raise :class:`DeviceError` when impossible outputs are the device's fault."""
        try:
            run(session, frames)
        except DeviceError:
            raise
        except EngineError:
            self._check_canary(session, str(error))
            return
        raise DeviceError(f"{error}, but do when the same images are run again")

    def _check_not_stuck(self, session: Session, frames: Frames, answers: list[Answer]) -> None:
        """Raise :class:`DeviceError` when different images get the same answer because the device is stuck."""
        given = list(zip(frames, answers, strict=True))
        latest, self._latest[session] = self._latest.get(session), given[-1]
        given = given if latest is None else [latest, *given]
        for (frame, answer), (next_frame, next_answer) in itertools.pairwise(given):
            if are_identical(answer, next_answer) and not np.array_equal(frame, next_frame):
                self._check_canary(session, "different images got the same answer")
                return  # the device works: the images differ only where the network does not look

    def _check_canary(self, session: Session, suspicion: str) -> None:
        """Raise :class:`DeviceError` when the canary does not get its known answer."""
        try:
            difference = self.canary_difference(session, 1)
        except EngineError as error:
            raise DeviceError(f"{suspicion}, and the canary image failed", error) from error
        if difference > self._bundle.canary_tolerance(self._variant.name):
            raise DeviceError(f"{suspicion}, and the canary image's probabilities differ by {difference:.2g}")
