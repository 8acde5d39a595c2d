"""The ledger: what was acknowledged stays over kill -9 and a full disk, belongs to its client, and can be deleted."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx

from service.ledger.file import LedgerFile
from tests.paths import REPOSITORY
from tests.service.ledger.ledgers import bytes_in, fill
from tests.torture.plan import Plan
from tests.torture.rows import Row, at_least, none_of
from tests.torture.served import PROGRAM, Served
from tests.torture.storage import small_folder
from tests.torture.strangers import bearer, make_key

CLIENTS = 3
AGREES = {"opinion": "agree"}
# Where nothing may be mounted.
_SMALL = """
import service.ledger.file as f
connect = f.LedgerFile._connect
def small(self):
    database = connect(self)
    database.execute("PRAGMA max_page_count = 24")
    return database
f.LedgerFile._connect = small
"""


def check(plan: Plan, picture: Path) -> Iterator[Row]:
    """Crashes, a full disk, other callers, expiry and deletion."""
    data = picture.read_bytes()
    yield from _killed(plan, data)
    yield from _filled(plan, data)
    yield from _two_callers(plan, data)


def _sent(client: httpx.Client, picture: bytes, lesion: str) -> httpx.Response:
    return client.post("/v1/predictions", files={"image": picture}, params={"lesion": lesion, "visit": "2026-01-05"})


def _said(client: httpx.Client, id: str) -> httpx.Response:
    return client.post(f"/v1/predictions/{id}/feedback", json=AGREES)


def _killed(plan: Plan, picture: bytes) -> Iterator[Row]:
    answered: list[str] = []
    agreed: list[str] = []
    broken, kills = 0, max(2, plan.kills // 4)
    with tempfile.TemporaryDirectory() as name:
        ledger, log = Path(name) / "ledger.sqlite", Path(name) / "audit.jsonl"
        settings = plan.settings() | {"CIN_LEDGER": str(ledger), "CIN_AUDIT": str(log)}
        for run in range(kills):
            with Served(settings) as served:
                enough = len(agreed) + CLIENTS
                workers = [
                    threading.Thread(target=_work, args=(served.url, picture, f"L-{run}-{each}", answered, agreed))
                    for each in range(CLIENTS)
                ]
                for worker in workers:
                    worker.start()
                while len(agreed) < enough and any(worker.is_alive() for worker in workers):
                    time.sleep(0.01)
                served.process.kill()
                for worker in workers:
                    worker.join()
            command = [sys.executable, "-c", PROGRAM, "audit", "verify", str(log), "--ledger", str(ledger)]
            broken += subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=False).returncode != 0
        file = LedgerFile(ledger)
        entries = file.everything()
        file.close()
    kept = {what: [entry.id for entry in entries if entry.what == what] for what in ("answer", "feedback")}
    name = f"ledger, kill -9 {kills} times"
    yield at_least(f"{name}: answers and feedback acknowledged meanwhile", len(answered) + len(agreed), 2 * kills)
    yield none_of(f"{name}: acknowledged answers lost", len({*answered} - {*kept["answer"]}))
    yield none_of(
        f"{name}: acknowledged feedback lost", sum(agreed.count(i) > kept["feedback"].count(i) for i in agreed)
    )
    yield none_of(f"{name}: does not verify with the audit log", broken)


def _work(url: str, picture: bytes, lesion: str, answered: list[str], agreed: list[str]) -> None:
    """Send the picture and feedback until the service is gone."""
    with httpx.Client(base_url=url, timeout=30.0) as client, suppress(httpx.HTTPError):
        while True:
            sent = _sent(client, picture, lesion)
            if sent.status_code != 201:
                continue
            id = sent.json()["id"]
            answered.append(id)
            if _said(client, id).status_code == 201:
                agreed.append(id)


def _filled(plan: Plan, picture: bytes) -> Iterator[Row]:
    with ExitStack() as stack:
        folder, program = stack.enter_context(small_folder(1, _SMALL))
        settings = plan.settings() | {"CIN_LEDGER": str(folder / "ledger.sqlite")}
        served = stack.enter_context(Served(settings, program=program))
        client = stack.enter_context(httpx.Client(base_url=served.url, timeout=60.0))
        kept, refused = [_sent(client, picture, "L-0").json()["id"]], []
        if program == PROGRAM:
            fill(folder / "filler")
        for _ in range(200):
            sent = _sent(client, picture, "L-0")
            if sent.status_code == 201:
                kept.append(sent.json()["id"])
            else:
                refused.append(sent.status_code)
            if len(refused) == 5:
                break
        refused.append(_said(client, kept[0]).status_code)
        found = {image["id"] for visit in client.get("/v1/lesions/L-0").json()["visits"] for image in visit["images"]}
        (folder / "filler").unlink(missing_ok=True)
        again = _sent(client, picture, "L-0").status_code if program == PROGRAM else 201
    yield at_least("ledger, full disk: refused with 507", refused.count(507), 6)
    yield none_of("ledger, full disk: refused with anything else", len(refused) - refused.count(507))
    yield none_of("ledger, full disk: acknowledged answers lost", len({*kept} - found))
    yield none_of("ledger, full disk: refused answers kept", len(found - {*kept}))
    yield none_of("ledger, full disk: not answered when there is room again", int(again != 201))


def _two_callers(plan: Plan, picture: bytes) -> Iterator[Row]:
    """Two clients with a lesion each; their predictions expire at once."""
    with tempfile.TemporaryDirectory() as name:
        keys, folder = Path(name) / "keys.json", Path(name) / "kept"
        own, other = (bearer(make_key(keys, client)) for client in ("clinic", "stranger"))
        kept = {"CIN_LEDGER": str(folder / "ledger.sqlite"), "CIN_RECORD_TTL_SECONDS": "0.001"}
        with Served(plan.settings() | kept | {"CIN_KEYS": str(keys)}) as served, ExitStack() as stack:
            one, two = (
                stack.enter_context(httpx.Client(base_url=served.url, headers=headers, timeout=30.0))
                for headers in (own, other)
            )
            id = _sent(one, picture, "Own-1").json()["id"]
            _sent(two, picture, "Other-2")
            expired = one.get(f"/v1/predictions/{id}").status_code
            taken = _said(one, id).status_code
            paths = [f"/v1/{each}" for each in ("lesions", "worklist", "recalls")]
            accepted = {path: ["application/json", "text/csv"][: 1 + (path != "/v1/lesions")] for path in paths}
            accepted["/v1/recalls"].append("text/calendar")
            texts = [two.get(path, headers={"Accept": kind}).text for path in paths for kind in accepted[path]]
            seen = sum("Own-1" in text or id in text for text in texts)
            statuses = [
                two.get("/v1/lesions/Own-1").status_code,
                two.delete("/v1/lesions/Own-1").status_code,
                two.delete(f"/v1/predictions/{id}").status_code,
                _said(two, id).status_code,
            ]
            lost = int(len(one.get("/v1/lesions/Own-1").json()["visits"][0]["images"][0]["feedback"]) != 1)
            deleted = one.delete("/v1/lesions/Own-1").status_code
            left = int(one.get("/v1/lesions/Own-1").status_code != 404) + int(b"Own-1" in bytes_in(folder))
    yield none_of("ledger: feedback on an expired prediction not taken", int((expired, taken) != (404, 201)))
    yield none_of("ledger: another client's lesion seen", seen + sum(status != 404 for status in statuses))
    yield none_of("ledger: one's own lesion lost", lost)
    yield none_of("ledger: a deleted lesion still there", left + int(deleted != 204))
