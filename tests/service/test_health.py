"""The canary check under load."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.admission.admission import Busy
from service.background import watch_decoder
from service.bundle import Bundle
from service.imaging import CostlyPicture
from service.imaging.decoder_pool import Decoded, DecoderPool
from service.imaging.fork_server import DecoderError
from service.inference.answers import Answer
from service.inference.engine import Engine
from service.prediction.predictor import Predictor
from service.runtime import predicting
from service.settings import Settings
from tests.service.conftest import Start
from tests.service.waiting import wait_until


@pytest.mark.parametrize("is_busy", [True, False])
def test_a_late_canary_is_a_failure_unless_later_images_are_answered(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, is_busy: bool
) -> None:
    really_check, really_run, release = Engine.canary_difference, Engine.run, threading.Event()

    def check(engine: Engine) -> float:
        release.wait(10)
        return really_check(engine)

    def run(engine: Engine, frames: NDArray[np.uint8], **options: Any) -> list[Answer]:
        time.sleep(0.2)
        return really_run(engine, frames, **options)

    monkeypatch.setattr(Engine, "canary_difference", check)
    monkeypatch.setattr(Engine, "run", run)

    async def failure() -> str | None:
        settings = Settings(bundle=tiny_bundle.folder, provider="cpu", inference_threads=2, deadline_seconds=1)
        async with asyncio.timeout(20), predicting(settings, tiny_bundle) as predictor:
            batcher, frame = predictor.scheduler.batcher, predictor.scheduler.engine.canary_frame
            earlier = asyncio.create_task(batcher.submit(frame))
            await asyncio.sleep(0.1)  # it runs already, so its answer says nothing of the device from now on
            checked = asyncio.create_task(predictor.health.check_canary())
            await earlier
            if is_busy:
                await batcher.submit(frame)
            await checked
            release.set()
            return predictor.health.failure

    assert asyncio.run(failure()) == (None if is_busy else "the canary image got no answer in time")


def test_a_decoder_that_gives_a_wrong_frame_ends_the_service(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_decode, wrong = DecoderPool.decode, False

    async def decode(pool: DecoderPool, data: bytes, client: str) -> Decoded:
        picture, seconds = await really_decode(pool, data, client)
        return Decoded(replace(picture, frame=picture.frame ^ wrong), seconds)

    monkeypatch.setattr(DecoderPool, "decode", decode)

    async def failures() -> list[str | None]:
        nonlocal wrong
        settings = Settings(bundle=tiny_bundle.folder, provider="cpu", inference_threads=2)
        async with predicting(settings, tiny_bundle) as predictor:
            await predictor.check_decoder()
            before = predictor.health.failure
            wrong = True
            await predictor.check_decoder()
            return [before, predictor.health.failure]

    intact, failure = asyncio.run(failures())
    assert intact is None
    assert failure is not None


def test_a_canary_that_is_not_decoded_says_nothing_of_answers(tiny_bundle: Bundle) -> None:
    errors = iter([DecoderError(), CostlyPicture(), Busy(), TimeoutError()])

    async def watched() -> None:
        done = asyncio.Event()

        async def check_decoder() -> None:
            if (error := next(errors, None)) is not None:
                raise error
            done.set()

        settings = Settings(bundle=tiny_bundle.folder, provider="cpu", inference_threads=2)
        async with asyncio.timeout(20), predicting(settings, tiny_bundle) as predictor:
            watching = asyncio.create_task(watch_decoder(predictor.health, check_decoder, every_seconds=0.001))
            await done.wait()
            assert predictor.health.failure is None
            watching.cancel()

    asyncio.run(watched())


def test_a_decoder_that_hangs_does_not_keep_the_canary_waiting(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    really_check, hangs, hung, told = Predictor.check_decoder, threading.Event(), threading.Event(), list[str]()

    async def check_decoder(predictor: Predictor) -> None:
        if hangs.is_set():
            hung.set()
            await asyncio.sleep(3600)
        await really_check(predictor)

    monkeypatch.setattr(Predictor, "check_decoder", check_decoder)
    with start(told.append, canary_seconds=0.05):
        hangs.set()
        assert hung.wait(10)
        monkeypatch.setattr(Engine, "canary_difference", lambda engine: 1.0)
        wait_until(lambda: bool(told), "the wrong canary is found")
