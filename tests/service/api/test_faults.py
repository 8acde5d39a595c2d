"""A device that fails, lies or hangs under a service: no wrong answer is given, and the process ends."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from service.bundle import Bundle
from service.inference.answers import Answer, DeviceError
from service.inference.engine import Engine
from service.inference.sessions import Outputs
from tests.service.changed_outputs import during
from tests.service.conftest import Start, service_of, store_of
from tests.service.faults import NO_MEMORY, PROGRAM
from tests.service.served import served
from tests.service.tiny_bundle import dark_square, picture_bytes
from tests.service.waiting import wait_until
from tests.service.wire import check_problem, post

PICTURES = [picture_bytes(dark_square((20 * i, 30, 90 - 10 * i))) for i in range(6)]


@dataclass
class Clients:
    """Clients that post images until the service refuses connections; when sent, which image, and the answer."""

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
        ("not finite", "probabilities do not sum to 1, and the canary image failed"),
        ("features not finite", "features is not finite, and the canary image failed"),
        ("stuck", "different images got the same answer, and the canary image failed"),
        ("drifting", "the canary image's probabilities differ by"),
        ("hanging", "the canary image got no answer in time"),
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
        check_problem(refused, 503, "no memory for this image just now")
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
        wait_until(lambda: bool(told), "the process is told to end")
        assert post(client, PICTURES[0]).status_code == 503
    (reason,) = told
    assert reason.startswith("the canary image failed")
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
