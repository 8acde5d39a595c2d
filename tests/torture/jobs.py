"""A job over kill -9 of the worker, the service and Redis in turn: every image gets one result, and the right one."""

from __future__ import annotations

import io
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from tests.paths import REPOSITORY
from tests.service.real_redis import RealRedis, free_port
from tests.torture.crashes import verifies
from tests.torture.plan import Plan
from tests.torture.rows import Row, at_least, at_most, none_of
from tests.torture.served import PROGRAM, Served

KINDS = ("worker", "service", "Redis")
# Of a prediction, what differs each time it is made.
_OF_ITS_TIME = ("id", "created_at", "expires_at", "timings_ms", "attention")


def check(plan: Plan, picture: Path) -> Iterator[Row]:
    """Nothing where there is no Redis."""
    if shutil.which("redis-server") is None:
        return
    pictures = _pictures(picture)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stage = _Stage(plan, folder)
        stack.callback(stage.end)
        with stage.client() as client:
            direct = [client.post("/predict", files={"image": each}).json() for each in pictures]
        job = stage.submit([pictures[i % len(pictures)] for i in range(plan.job_pictures)])
        unacknowledged = _killed_in_turn(plan, stage, job, pictures)
        began = time.monotonic()
        stopped = stage.worker if plan.job_stands_still else None
        if stopped is not None:
            stopped.send_signal(signal.SIGSTOP)
            stage.start_worker()
        stage.wait_for(job, plan.job_pictures)
        rest = time.monotonic() - began
        if stopped is not None:  # it goes on with images that another one has answered
            stopped.send_signal(signal.SIGCONT)
            stopped.terminate()
            stopped.wait(120)
        results, left = stage.results(job), stage.count_images()
        entries = [json.loads(line) for line in (folder / "audit.jsonl").read_bytes().splitlines()]
        verified = verifies(folder / "audit.jsonl")
    yield from _judged(plan, results, direct, entries)
    name = _name(plan)
    yield none_of(f"{name}: audit log that does not verify", int(not verified))
    yield none_of(f"{name}: pictures left in Redis", left)
    yield at_least(f"{name}: jobs cut off while they were sent", unacknowledged, 1)
    yield at_most(f"{name}: seconds from the last kill or stop to the last result", rest, 600)


def _name(plan: Plan) -> str:
    stands_still = ", and a worker that stands still" if plan.job_stands_still else ""
    return f"job of {plan.job_pictures} pictures, kill -9 {plan.job_kills} times{stands_still}"


def _judged(
    plan: Plan, results: Sequence[dict[str, Any]], direct: Sequence[dict[str, Any]], entries: Sequence[dict[str, Any]]
) -> Iterator[Row]:
    """``direct`` are the answers of /predict."""
    name, expected, asked = _name(plan), [_lasting(each) for each in direct], {each["id"] for each in direct}
    indices = Counter(result["index"] for result in results)
    made = {r["index"]: r["prediction"] for r in results if r["prediction"] is not None}
    other = sum(_lasting(made[index]) != expected[index % len(expected)] for index in made)
    outcomes: dict[str, list[str]] = {}
    for entry in entries:
        # One that failed before there was anything to keep has no id, and is tried again.
        if entry["what"] == "prediction" and entry.get("id", direct[0]["id"]) not in asked:
            outcomes.setdefault(entry["id"], []).append(entry["outcome"])
    once = sum(outcomes.pop(prediction["id"], []) == ["answered"] for prediction in made.values())
    # What killed workers began is in no result.
    unclear = sum(each[-1] != "given-up" for each in outcomes.values())
    yield none_of(f"{name}: pictures without a result", plan.job_pictures - len(indices))
    yield none_of(f"{name}: results given twice", len(results) - len(indices))
    yield none_of(f"{name}: pictures with a problem", len(results) - len(made))
    yield none_of(f"{name}: predictions that are not those of /predict", other)
    yield none_of(f"{name}: predictions that are not once in the audit log", len(made) - once)
    yield none_of(f"{name}: others in the audit log that are not given up", unclear)
    yield at_least(f"{name}: attempts that were given up", len(outcomes), int(plan.job_stands_still))


def _killed_in_turn(plan: Plan, stage: _Stage, job: str, pictures: Sequence[bytes]) -> int:
    """Kill each process in turn, as the results arrive; how many jobs were cut off that were being sent meanwhile."""
    cut_off = 0
    for kill in range(plan.job_kills):
        stage.wait_for(job, (kill + 1) * plan.job_pictures // (plan.job_kills + 2))
        kind = KINDS[kill % len(KINDS)]
        if kind == "worker":
            stage.worker.kill()
            stage.worker.wait()
            stage.start_worker()
        elif kind == "service":
            cut_off += stage.cut_off(pictures)
            stage.start_service()
        else:
            stage.redis.kill()
            time.sleep(1.0)
            stage.redis.start()
    return cut_off


class _Stage:
    """The service, a worker, and both Redis."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        (folder / "records").mkdir()
        (folder / "jobs").mkdir()
        self.records, self.redis = RealRedis(folder / "records"), RealRedis(folder / "jobs", durable=True)
        self._settings = plan.settings() | {
            "CIN_RECORDS_URL": self.records.url,
            "CIN_JOBS_URL": self.redis.url,
            "CIN_AUDIT": str(folder / "audit.jsonl"),
            "CIN_PORT": str(free_port()),
            "CIN_PROVIDER": "cpu",
            "CIN_DEADLINE_SECONDS": "30",
            "PYTHONPATH": str(REPOSITORY),
        }
        self._log = (folder / "worker.log").open("w", encoding="utf-8")
        self.start_service()
        self.start_worker()

    def start_service(self) -> None:
        """Serve at the same address."""
        self.service = Served(self._settings).__enter__()

    def start_worker(self) -> None:
        """Work on jobs."""
        self.worker = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, "jobs", "work"], env=self._settings, stdout=self._log, stderr=self._log
        )

    def client(self) -> httpx.Client:
        """A client of the service."""
        return httpx.Client(base_url=self.service.url, timeout=60.0, transport=httpx.HTTPTransport(retries=5))

    def submit(self, pictures: Sequence[bytes]) -> str:
        """The id of a job that was acknowledged."""
        with self.client() as client:
            sent = client.post("/v1/jobs", files=[("image", each) for each in pictures])
            assert sent.status_code == 202, sent.text
            return str(sent.json()["id"])

    def cut_off(self, pictures: Sequence[bytes]) -> int:
        """Kill the service while it takes a job; 1 where that was in time."""
        head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        body = b"".join(head + each + b"\r\n" for each in pictures)

        def slow() -> Iterator[bytes]:
            yield body
            self.service.process.kill()
            time.sleep(0.2)
            yield b"--x--\r\n"

        try:
            with self.client() as client:
                client.post("/v1/jobs", content=slow(), headers={"Content-Type": "multipart/form-data; boundary=x"})
        except httpx.HTTPError:
            return 1
        finally:
            self.service.__exit__(None, None, None)
        return 0

    def wait_for(self, job: str, num: int) -> None:
        """Until so many images have a result; fails when none comes for five minutes."""
        seen, since = -1, time.monotonic()
        with self.client() as client:
            while seen < num:
                with suppress(httpx.HTTPError, KeyError):
                    now = client.get(f"/v1/jobs/{job}").json()["answered"]
                    if now > seen:
                        seen, since = now, time.monotonic()
                if time.monotonic() - since > 300:
                    raise RuntimeError(f"{seen} of {num} results, and no other came")
                time.sleep(0.05)

    def results(self, job: str) -> list[dict[str, Any]]:
        """All of them, page by page."""
        found: list[dict[str, Any]] = []
        page = f"/v1/jobs/{job}/results?limit=150&include=raw"
        with self.client() as client:
            while page:
                answer = client.get(page).raise_for_status().json()
                found, page = found + answer["results"], answer["next"]
        return found

    def count_images(self) -> int:
        """Images in Redis."""
        return sum(1 for _ in self.redis.client.scan_iter("cin:{jobs}:*:image:*"))

    def end(self) -> None:
        """Kill what runs."""
        self.worker.kill()
        self.worker.wait()
        self._log.close()
        self.service.__exit__(None, None, None)
        self.redis.stop()
        self.records.stop()


def _pictures(picture: Path) -> list[bytes]:
    """Five small JPEGs that differ."""
    with Image.open(picture) as image:
        small = image.convert("RGB").resize((320, 240))
    buffers = [io.BytesIO() for _ in range(5)]
    for quality, buffer in enumerate(buffers):
        small.rotate(7 * quality).save(buffer, "JPEG", quality=80)
    return [buffer.getvalue() for buffer in buffers]


def _lasting(prediction: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in prediction.items() if name not in _OF_ITS_TIME}
