"""What a device says, gets wrong or repeats, and whose fault it is taken for."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from service.bundle import Bundle
from service.inference.answers import DeviceError, EngineError, OutOfMemory
from service.inference.engine import Engine
from service.inference.sessions import Outputs
from tests.service.changed_outputs import during
from tests.service.faults import DEVICE_ERRORS, NO_MEMORY
from tests.service.tiny_bundle import FRAME


@pytest.fixture
def engine(examining_bundle: Bundle) -> Engine:
    return Engine(examining_bundle, provider="cpu", threads=1)


def frames_of(*values: int) -> NDArray[np.uint8]:
    """Frames of one colour each, skin by the left half."""
    return np.stack([np.full((FRAME, FRAME, 3), (value, 150, 140), np.uint8) for value in values])


def not_finite(outputs: Outputs) -> Outputs:
    """No number in the branches."""
    return {**outputs, "branch_probabilities": outputs["branch_probabilities"] * np.float32("nan")}


@pytest.mark.parametrize("message", DEVICE_ERRORS)
def test_what_cuda_says_when_it_fails(engine: Engine, monkeypatch: pytest.MonkeyPatch, message: str) -> None:
    def fail(*_: object) -> Outputs:
        raise RuntimeError(message)

    during(monkeypatch, fail)
    with pytest.raises(DeviceError) as raised:
        engine.run(frames_of(1))
    assert message in str(raised.value)
    assert raised.value.reason == "ONNX Runtime failed", "what the runtime says names machines and paths"


@pytest.mark.parametrize("message", NO_MEMORY)
def test_what_is_said_when_memory_is_short(engine: Engine, monkeypatch: pytest.MonkeyPatch, message: str) -> None:
    def fail(*_: object) -> Outputs:
        raise RuntimeError(message)

    during(monkeypatch, fail)
    with pytest.raises(OutOfMemory):
        engine.run(frames_of(1))


def test_outputs_that_are_impossible_once_are_the_devices_fault(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    during(monkeypatch, lambda outputs, _, turn: not_finite(outputs) if turn == 1 else outputs)
    with pytest.raises(DeviceError, match="do not sum to 1, but do when the same images are run again"):
        engine.run(frames_of(1))


def test_outputs_that_one_picture_always_gets_are_its_own_fault(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison = frames_of(66)[0]

    def change(outputs: Outputs, frames: NDArray[np.uint8], _: int) -> Outputs:
        return not_finite(outputs) if any(np.array_equal(frame, poison) for frame in frames) else outputs

    during(monkeypatch, change)
    with pytest.raises(EngineError) as raised:
        engine.run(frames_of(66))
    assert not isinstance(raised.value, DeviceError)
    assert len(engine.run(frames_of(1, 2))) == 2


def test_different_pictures_may_get_one_answer_where_the_canary_is_right(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when they differ only where the network does not look; and the same image twice is no suspicion at all."""
    blind = {1: 1, 2: 1, 3: 3}

    def change(outputs: Outputs, frames: NDArray[np.uint8], _: int) -> Outputs:
        seen = [int(frame[0, 0, 0]) for frame in frames]
        return {name: values[[blind.get(v, v) - 1 if v in blind else i for i, v in enumerate(seen)]]
                for name, values in outputs.items()}  # fmt: skip

    sizes = during(monkeypatch, change)
    answers = engine.run(frames_of(1, 2, 3))
    assert np.array_equal(answers[0].branch_probabilities, answers[1].branch_probabilities)
    assert len(sizes) == 3, "the images, the canary image and its negative"
    engine.run(frames_of(3, 3, 3))
    assert len(sizes) == 4


def test_a_device_that_is_stuck_at_the_canarys_answer_is_found_out(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    (known,) = [engine.sessions.batched.run(engine.canary_frame[None])]

    def change(_: Outputs, frames: NDArray[np.uint8], turn: int) -> Outputs:  # noqa: ARG001
        return {name: np.repeat(values, len(frames), axis=0) for name, values in known.items()}

    during(monkeypatch, change)
    with pytest.raises(EngineError, match="and its negative get the same answer"):
        engine.canary_difference()
    with pytest.raises(DeviceError, match="different images got the same answer"):
        engine.run(frames_of(1, 2))
