"""Strangers: nothing without a key, nothing of others with one, nothing after it was deleted."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx

from tests.paths import REPOSITORY
from tests.torture.plan import Plan
from tests.torture.rows import Row, none_of
from tests.torture.served import PROGRAM, Served

PUBLIC = ("/", "/healthz", "/readyz", "/docs", "/openapi.json")
PRIVATE = ("/model", "/metrics", f"/predictions/{'0' * 32}", f"/attention/{'0' * 32}")


def make_key(keys: Path, client: str) -> str:
    """A new key of a client, as ``cin keys create`` prints it."""
    command = [sys.executable, "-c", PROGRAM, "keys", "create", client]
    environment = {"CIN_KEYS": str(keys), "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, cwd=keys.parent, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def check(plan: Plan, picture: Path) -> Iterator[Row]:
    """One client's prediction in the hands of others."""
    with tempfile.TemporaryDirectory() as name:
        keys = Path(name) / "keys.json"
        own, other = (bearer(make_key(keys, client)) for client in ("clinic", "stranger"))
        forged = [{}, bearer("cin_" + "A" * 43), {"Authorization": "Basic Y2luOmNpbg=="}, {"Authorization": "Bearer"}]
        with Served(plan.settings() | {"CIN_KEYS": str(keys)}) as served, httpx.Client(base_url=served.url) as client:
            files = {"image": picture.read_bytes()}
            prediction = client.post("/predict", files=files, headers=own).json()
            paths = [f"/predictions/{prediction['id']}", *filter(None, prediction["attention"].values())]
            barred = [("GET", path) for path in (*PRIVATE, *paths)] + [("DELETE", paths[0])]
            admitted = sum(client.request(m, p, headers=h).status_code != 401 for m, p in barred for h in forged)
            predicted = sum(client.post("/predict", files=files, headers=h).status_code != 401 for h in forged)
            seen = sum(client.get(path, headers=other).status_code != 404 for path in paths)
            seen += client.delete(paths[0], headers=other).status_code != 404
            closed = sum(client.get(path).status_code != 200 for path in PUBLIC)
            lost = sum(client.get(path, headers=own).status_code != 200 for path in paths)
            lost += client.delete(paths[0], headers=own).status_code != 204
            left = sum(client.get(path, headers=own).status_code != 404 for path in paths)
    yield none_of(
        f"without a valid key ({len(forged) * (len(barred) + 1)} tried): not refused with 401", admitted + predicted
    )
    yield none_of("another client's prediction: seen, drawn or deleted", seen)
    yield none_of("one's own prediction: not seen, drawn or deleted", lost)
    yield none_of("a deleted prediction: still there", left)
    yield none_of("what is public: closed", closed)


def bearer(key: str) -> dict[str, str]:
    """The header of a request with the key."""
    return {"Authorization": f"Bearer {key}"}
