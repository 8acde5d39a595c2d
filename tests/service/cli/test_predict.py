"""``cin predict``: on the terminal, and many images at once."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.bundle import Bundle
from service.cli.archive import find_pictures
from service.cli.files import read_file
from service.cli.one_process import predict_files
from service.cli.reports import Outcome
from service.imaging import read_picture
from service.inference.answers import Answer, DeviceError, EngineError
from service.inference.batching import Batcher
from service.inference.engine import Engine
from service.runtime import predicting
from service.settings import Settings
from tests.paths import REPOSITORY
from tests.service.cli.conftest import cin
from tests.service.tiny_bundle import CLASSES, FRAME, THRESHOLD, dark_square, expected_outputs, picture_bytes

PROGRAM = (sys.executable, "-c", "from service.cli.__main__ import main; main()")


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    path = tmp_path / "broken.jpg"
    path.write_bytes(picture_bytes(dark_square(), "JPEG")[:1000])
    return path


def test_json_lines_of_real_pictures(environment: dict[str, str], data_root: Path) -> None:
    pictures = sorted((data_root / "samples").glob("*.jpg"))[:2]
    result = cin("predict", "--json", *pictures, **environment)
    assert result.exit_code == 0
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["picture"] for line in lines] == [str(path) for path in pictures]
    for path, line in zip(pictures, lines, strict=True):
        expected = expected_outputs(read_picture(path.read_bytes(), FRAME).frame)["probabilities"][0]
        assert [line["probabilities"][name] for name in CLASSES] == pytest.approx(expected, abs=1e-3)
        assert set(line["decision"]) >= {"refer", "status", "reasons"}


def test_a_table_for_people(environment: dict[str, str], picture: Path) -> None:
    result = cin("predict", picture, **environment)
    assert result.exit_code == 0
    header, row = result.stdout.splitlines()
    assert header.split() == ["picture", "balanced", "malignant", "threshold", "reasons"]
    assert row.startswith(str(picture))
    assert "refer" in row
    assert "rule out" in result.stderr
    risk, threshold = (float(row[(i := header.index(n)) : i + len(n)]) for n in ("malignant", "threshold"))
    assert threshold == THRESHOLD
    assert 0.4 < risk < 1.0


def test_one_bad_picture_does_not_stop_the_others(environment: dict[str, str], picture: Path, broken: Path) -> None:
    missing = picture.with_name("missing.jpg")
    result = cin("predict", broken, missing, picture, **environment)
    assert result.exit_code == 1
    assert "refer  " in result.stdout
    assert "truncated" in result.stderr
    assert "No such file" in result.stderr
    assert "Traceback" not in result.output
    as_json = cin("predict", "--json", broken, picture, **environment)
    assert as_json.exit_code == 1
    assert [set(json.loads(line)) & {"error", "diagnosis"} for line in as_json.stdout.splitlines()] == [
        {"error"},
        {"diagnosis"},
    ]


@pytest.mark.parametrize("link", [False, True])
def test_pipes_and_devices_are_refused_at_once(
    environment: dict[str, str], picture: Path, tmp_path: Path, link: bool
) -> None:
    pipe, device = tmp_path / "pipe.jpg", Path("/dev/zero")
    os.mkfifo(pipe)
    if link:
        for path in (pipe, device):
            (tmp_path / f"to-{path.name}").symlink_to(path)
        pipe, device = tmp_path / "to-pipe.jpg", tmp_path / "to-zero"
    result = cin("predict", pipe, device, picture, **environment)
    assert result.exit_code == 1
    assert f"{pipe}: a pipe, a socket or a device" in result.stderr
    assert f"{device}: a pipe, a socket or a device" in result.stderr
    assert "refer  " in result.stdout


def test_names_on_the_terminal(environment: dict[str, str], broken: Path, tmp_path: Path) -> None:
    """Neither control characters nor names that are not UTF-8 end the command or reach the terminal."""
    for i, name in enumerate((b"\x1b[31mred.png", b"latin1-\xe9.png", b"c.png")):
        (tmp_path / os.fsdecode(name)).write_bytes(picture_bytes(dark_square(start=4 * i)))
    for name in (b"\x1b[32mbroken.jpg", b"[bold]broken :smile:.jpg"):
        (tmp_path / os.fsdecode(name)).write_bytes(broken.read_bytes())
    for options in ([], ["--json"], ["--out", "results.csv"]):
        process = subprocess.run(
            [*PROGRAM, "predict", *options, "."],
            cwd=tmp_path,
            env={**os.environ, **environment, "PYTHONIOENCODING": "utf-8:strict", "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert process.returncode == 1
        assert b"Traceback" not in process.stderr
        assert b"%1B[32mbroken.jpg: " in process.stderr or options == ["--json"]
        assert b"[bold]broken :smile:.jpg: " in process.stderr or options == ["--json"]
        assert b"\x1b" not in process.stdout + process.stderr
        answers = (tmp_path / "results.csv").read_bytes() if "--out" in options else process.stdout
        assert b"%1B[31mred.png" in answers
        assert b"latin1-%E9.png" in answers


def test_a_refusal_has_no_control_characters(environment: dict[str, str], picture: Path) -> None:
    result = cin("predict", picture, "--out", picture.parent / "\x1b[31m.csv/results.csv", **environment)
    assert result.exit_code == 1
    assert "\x1b" not in result.stderr
    assert "does not exist" in result.stderr


def test_a_reader_that_leaves_early(environment: dict[str, str], archive: Path) -> None:
    command = [*PROGRAM, "predict", "--json", str(archive)]
    process = subprocess.run(
        [f"{shlex.join(command)} | head -n 0; exit ${{PIPESTATUS[0]}}"],
        shell=True,
        executable="/bin/bash",
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (process.returncode, process.stderr) == (1, b"")


def test_answers_go_to_the_terminal_or_into_a_file(environment: dict[str, str], archive: Path, tmp_path: Path) -> None:
    result = cin("predict", archive, "--json", "--out", tmp_path / "results.csv", **environment)
    assert result.exit_code == 2
    assert "--json is for the terminal" in result.stderr


Run = Callable[[NDArray[np.uint8]], list[Answer]]


def during(monkeypatch: pytest.MonkeyPatch, change: Callable[[NDArray[np.uint8], Run], list[Answer]]) -> None:
    """Put ``change`` in the place of the engine's run, which it gets to call."""
    really_run = Engine.run

    def run(engine: Engine, frames: NDArray[np.uint8], **options: Any) -> list[Answer]:
        return change(frames, lambda frames: really_run(engine, frames, **options))

    monkeypatch.setattr(Engine, "run", run)


def outcomes_of(bundle: Bundle, paths: list[Path], **settings: Any) -> list[Outcome]:
    """The outcomes of all images."""

    async def work() -> list[Outcome]:
        chosen = Settings(bundle=bundle.folder, provider="cpu", **{"inference_threads": 1, **settings})
        async with asyncio.timeout(20), predicting(chosen, bundle) as predictor:
            return [outcome async for outcome in predict_files(predictor, paths, in_flight=7, max_bytes=10**6)]

    return asyncio.run(work())


def test_batches_give_what_single_pictures_give(
    tiny_bundle: Bundle, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def run(frames: NDArray[np.uint8], really: Run) -> list[Answer]:
        sizes.append(len(frames))
        return really(frames)

    during(monkeypatch, run)
    paths = find_pictures([archive]).pictures

    async def in_batches() -> list[Outcome]:
        chosen = Settings(bundle=tiny_bundle.folder, provider="cpu", inference_threads=1)
        async with asyncio.timeout(20), predicting(chosen, tiny_bundle) as predictor:
            scheduler, gate = predictor.scheduler, threading.Event()
            await scheduler.batcher.stop()
            scheduler.batcher = Batcher(scheduler.engine.run, max_batch=4)  # on a thread of its own, as for a GPU
            scheduler.batcher.start()
            busy = asyncio.ensure_future(scheduler.batcher.call(gate.wait))
            outcomes = predict_files(predictor, paths, in_flight=7, max_bytes=10**6)
            first = asyncio.ensure_future(anext(outcomes))
            while scheduler.batcher.depth < 4:
                await asyncio.sleep(0.002)
            gate.set()
            await busy
            return [await first, *[outcome async for outcome in outcomes]]

    single = outcomes_of(tiny_bundle, paths)
    assert sizes == [1] * 7
    batched = asyncio.run(in_batches())
    assert max(sizes[7:]) == 4
    assert [outcome.path for outcome in batched] == paths
    for one, other in zip(single, batched, strict=True):
        assert one.prediction is not None
        assert other.prediction is not None
        assert one.prediction.probabilities == pytest.approx(other.prediction.probabilities, abs=1e-4)


def test_pictures_run_side_by_side_and_come_in_order(
    tiny_bundle: Bundle, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = threading.Barrier(2)

    def run(frames: NDArray[np.uint8], really: Run) -> list[Answer]:
        both.wait(10)
        return really(frames)

    during(monkeypatch, run)
    paths = find_pictures([archive]).pictures[:6]
    outcomes = outcomes_of(tiny_bundle, paths, inference_threads=2)
    assert [outcome.path for outcome in outcomes] == paths
    assert all(outcome.prediction for outcome in outcomes)


def test_one_poisoned_picture_fails_alone(tiny_bundle: Bundle, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poison = tiny_bundle.read_picture((archive / "2.png").read_bytes()).frame

    def run(frames: NDArray[np.uint8], really: Run) -> list[Answer]:
        if any(np.array_equal(frame, poison) for frame in frames):
            raise EngineError("probabilities do not sum to 1")
        return really(frames)

    during(monkeypatch, run)
    outcomes = outcomes_of(tiny_bundle, find_pictures([archive]).pictures, max_batch=4)
    assert {Path(outcome.path).name: outcome.error for outcome in outcomes if outcome.prediction is None} == {
        "2.png": "probabilities do not sum to 1"
    }


def test_a_device_that_fails_ends_it(
    environment: dict[str, str], archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = 0

    def run(frames: NDArray[np.uint8], really: Run) -> list[Answer]:
        nonlocal turns
        turns += 1
        if turns > 2:
            raise DeviceError("ONNX Runtime failed")
        return really(frames)

    during(monkeypatch, run)
    out = tmp_path / "results.jsonl"
    result = cin("predict", archive, "--out", out, **environment)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == "cin: ONNX Runtime failed"
    assert len(out.read_text().splitlines()) <= 2


def test_memory_is_bounded(tiny_bundle: Bundle, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However slowly outcomes are taken, only so many images are read."""
    read: list[Path] = []

    def reading(path: Path, max_bytes: int) -> bytes:
        read.append(path)
        return read_file(path, max_bytes)

    monkeypatch.setattr("service.cli.one_process.read_location", reading)

    async def work() -> None:
        chosen = Settings(bundle=tiny_bundle.folder, provider="cpu", inference_threads=1)
        async with asyncio.timeout(20), predicting(chosen, tiny_bundle) as predictor:
            paths = find_pictures([archive]).pictures
            outcomes = predict_files(predictor, paths, in_flight=3, max_bytes=10**6)
            await anext(outcomes)
            await asyncio.sleep(0.2)
            assert len(read) == 3
            await outcomes.aclose()

    asyncio.run(work())
