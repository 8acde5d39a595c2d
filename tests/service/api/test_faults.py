"""A device that fails, lies or hangs: no answer of it is given for a right one, and the process ends.

Over the wire against a process of its own, with requests under way; the wording of every error in this one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from service.bundle import Bundle
from service.inference.answers import Answer, DeviceError, EngineError, OutOfMemory
from service.inference.engine import Engine
from service.inference.sessions import HostSession, Outputs
from tests.service.conftest import Start, service_of, store_of
from tests.service.faults import DEVICE_ERRORS, NO_MEMORY, PROGRAM
from tests.service.served import served
from tests.service.tiny_bundle import FRAME, dark_square, picture_bytes
from tests.service.wire import check_problem, post

PICTURES = [picture_bytes(dark_square((20 * i, 30, 90 - 10 * i))) for i in range(6)]


@dataclass
class Clients:
    """Clients that post pictures until the service refuses connections; when sent, which picture, and the answer."""

    url: str
    answers: list[tuple[float, int, httpx.Response]] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    def start(self, num: int) -> None:
        self.threads = [threading.Thread(target=self._post, args=(i,)) for i in range(num)]
        for thread in self.threads:
            thread.start()

    def _post(self, number: int) -> None:
        try:
            with httpx.Client(base_url=self.url, timeout=30) as client:
                for turn in range(2000):
                    which, sent = (number + turn) % len(PICTURES), time.monotonic()
                    response = client.post("/predict", content=PICTURES[which], headers={"content-type": "image/png"})
                    self.answers.append((sent, which, response))
        except httpx.TransportError:
            pass  # it has ended


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("device error", "ONNX Runtime failed"),
        ("not finite", "probabilities do not sum to 1, and the canary picture failed"),
        ("features not finite", "features is not finite, and the canary picture failed"),
        ("stuck", "different pictures got the same answer, and the canary picture failed"),
        ("drifting", "the canary picture's probabilities differ by"),
        ("hanging", "the canary picture got no answer in time"),
    ],
)
def test_no_wrong_answer_is_given_and_the_process_ends(
    examining_bundle: Bundle, tmp_path: Path, fault: str, told: str
) -> None:
    """With requests under way, and for as long as the service still answers."""
    only_the_canary_can_tell = fault in ("drifting", "hanging")
    errs, half = tmp_path / "fault", tmp_path / "half"
    half.write_text(fault)
    settings: dict[str, Any] = {
        "CIN_CANARY_SECONDS": "0.3" if only_the_canary_can_tell else "300",
        "CIN_DEADLINE_SECONDS": "1",
        "CIN_FAREWELL_SECONDS": "1",
        "CIN_SHUTDOWN_SECONDS": "3",
    }
    with served(examining_bundle.folder, program=PROGRAM, FAULT=str(errs), **settings) as service:
        with service.client() as client:
            sent = [client.post("/predict", content=p, headers={"content-type": "image/png"}) for p in PICTURES]
            known = [response.json()["probabilities"] for response in sent]
            kept = f"/predictions/{sent[0].json()['id']}"
            assert client.get(kept).status_code == 200
            clients = Clients(service.url)
            clients.start(4)
            while len(clients.answers) < 8:
                time.sleep(0.01)
            half.rename(errs)
            until = time.monotonic() + 20
            while client.get("/readyz").status_code == 200:
                assert time.monotonic() < until, "the fault was never found out"
                time.sleep(0.005)
            latched = time.monotonic()
            assert client.get("/healthz").status_code == 200
            assert client.get(kept).status_code == 503
            assert "cin_ready 0.0" in client.get("/metrics").text
        assert service.process.wait(30) == 1
        for thread in clients.threads:
            thread.join(30)
    assert service.output[-1].startswith(f"cin: {told}")
    after = [answer.status_code for sent_at, _, answer in clients.answers if sent_at > latched]
    assert after
    assert set(after) <= {503, 504}
    for _, which, answer in clients.answers:
        if answer.status_code == 200 and fault != "drifting":
            assert answer.json()["probabilities"] == known[which]


@pytest.fixture
def engine(examining_bundle: Bundle) -> Engine:
    return Engine(examining_bundle, provider="cpu", threads=1)


def frames_of(*values: int) -> NDArray[np.uint8]:
    """Frames of one colour each, skin by the left half."""
    return np.stack([np.full((FRAME, FRAME, 3), (value, 150, 140), np.uint8) for value in values])


Run = Callable[[HostSession, NDArray[np.uint8]], Outputs]


def during(monkeypatch: pytest.MonkeyPatch, change: Callable[[Outputs, NDArray[np.uint8], int], Outputs]) -> list[int]:
    """Change the outputs of every run; returns the sizes of the batches that were run, as they come."""
    really_run, sizes = HostSession.run, list[int]()

    def run(session: HostSession, frames: NDArray[np.uint8]) -> Outputs:
        sizes.append(len(frames))
        return change(really_run(session, frames), frames, len(sizes))

    monkeypatch.setattr(HostSession, "run", run)
    return sizes


def not_finite(outputs: Outputs) -> Outputs:
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
    with pytest.raises(DeviceError, match="do not sum to 1, but do when the same pictures are run again"):
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
    """As when they differ only where the network does not look; and the same picture twice is no suspicion at all."""
    blind = {1: 1, 2: 1, 3: 3}

    def change(outputs: Outputs, frames: NDArray[np.uint8], _: int) -> Outputs:
        seen = [int(frame[0, 0, 0]) for frame in frames]
        return {name: values[[blind.get(v, v) - 1 if v in blind else i for i, v in enumerate(seen)]]
                for name, values in outputs.items()}  # fmt: skip

    sizes = during(monkeypatch, change)
    answers = engine.run(frames_of(1, 2, 3))
    assert np.array_equal(answers[0].branch_probabilities, answers[1].branch_probabilities)
    assert len(sizes) == 3, "the pictures, the canary picture and its negative"
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
    with pytest.raises(DeviceError, match="different pictures got the same answer"):
        engine.run(frames_of(1, 2))


def test_memory_that_is_short_for_a_batch_is_enough_for_single_pictures(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    with start(told.append, max_batch=4) as client:
        service = service_of(client)

        def fail(outputs: Outputs, frames: NDArray[np.uint8], _: int) -> Outputs:
            if len(frames) > 1:
                raise RuntimeError(NO_MEMORY[0])
            return outputs

        sizes = during(monkeypatch, fail)
        form = [("image", (f"{i}.png", picture)) for i, picture in enumerate(PICTURES[:4])]
        answers = client.post("/predict/batch", files=form).json()["answers"]
        assert [answer["problem"] for answer in answers] == [None] * 4
        assert set(sizes) <= {1, 2, 4}
        assert service.health.failure is None
    assert told == []


def test_memory_that_is_short_once_costs_one_picture(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    with start(told.append) as client:

        def fail(outputs: Outputs, _: NDArray[np.uint8], turn: int) -> Outputs:
            if turn == 1:
                raise RuntimeError(NO_MEMORY[0])
            return outputs

        during(monkeypatch, fail)
        refused = post(client, PICTURES[0])
        check_problem(refused, 503, "no memory for this picture just now")
        assert refused.headers["retry-after"] == "5"
        assert post(client, PICTURES[0]).status_code == 200
        assert client.get("/readyz").status_code == 200
        assert "cin_inference_errors_total 1.0" in client.get("/metrics").text
    assert told == []


def test_a_session_that_never_finds_memory_again_ends_the_process(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    with start(told.append) as client:

        def fail(*_: Any) -> Outputs:
            raise RuntimeError(NO_MEMORY[1])

        during(monkeypatch, fail)
        assert post(client, PICTURES[0]).status_code == 503
        until = time.monotonic() + 10
        while not told:
            assert time.monotonic() < until
            client.get("/healthz")
        assert post(client, PICTURES[0]).status_code == 503
    (reason,) = told
    assert reason.startswith("the canary picture failed")
    assert "cudaMalloc" not in reason


def test_trust_lost_while_an_answer_is_kept_or_a_batch_goes_on_withholds_it(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    with start() as client:
        service = service_of(client)
        keep = store_of(client).put

        def put(id: str, record: Any) -> None:
            keep(id, record)
            assert client.portal is not None
            client.portal.start_task_soon(lambda: service.health.fail("the canary tripped")).result()

        monkeypatch.setattr(store_of(client), "put", put)
        check_problem(post(client, PICTURES[0]), 503, "the canary tripped")
    calls: list[Answer] = []
    really_run = Engine.run

    def run(engine: Engine, frames: NDArray[np.uint8], **options: Any) -> list[Answer]:
        calls.extend(answers := really_run(engine, frames, **options))
        if len(calls) == 2:
            raise DeviceError("the device errs")
        return answers

    monkeypatch.setattr(Engine, "run", run)
    with start() as client:
        calls.clear()  # without the canary
        form = [("image", (f"{i}.png", picture)) for i, picture in enumerate(PICTURES[:2])]
        check_problem(client.post("/predict/batch", files=form), 503, "the device errs")
