"""The real stack under a project name of its own, and what can be asked of it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from PIL import Image, ImageOps

from service.settings import SHIPPED_BUNDLE
from tests.paths import REPOSITORY

RULES = sorted((REPOSITORY / "docker" / "prometheus" / "rules").glob("*.yml"))


def missing_engine() -> str | None:
    """Why there is no stack here, or None."""
    if shutil.which("docker") is None:
        return "no Docker client is installed"
    if run("docker", "version", check=False).returncode != 0:
        return "no Docker engine is running"
    if not compose_command():
        return "neither docker compose nor docker-compose is installed"
    return None


def compose_command() -> list[str]:
    """Version 2 where it is installed, else version 1."""
    if run("docker", "compose", "version", check=False).returncode == 0:
        return ["docker", "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") else []


def run(*command: str, check: bool = True, timeout: float = 600, **options: Any) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, **options)
    assert not check or done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"not within {seconds:g} s: {what}"
        time.sleep(0.2)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Stack:
    """``docker-compose.yml`` as it is, with settings as ``.env`` would give them."""

    def __init__(self, compose: list[str], image: str, folder: Path, **settings: str) -> None:
        # A .env in the repository is the developer's own.
        (folder / "env").touch()
        self.command, self.image = [*compose, "--env-file", str(folder / "env")], image
        self.port = free_port()
        self.project = f"cin-test-{os.getpid()}"
        self.url = f"http://127.0.0.1:{self.port}"
        self.bundle = folder / "bundles" / "served"
        shutil.copytree(SHIPPED_BUNDLE, self.bundle)
        # The service runs as another user.
        folder.chmod(0o755)
        self.settings = {
            "COMPOSE_PROJECT_NAME": self.project,
            "PUBLISH": f"127.0.0.1:{self.port}",
            "CIN_IMAGE": image,
            "BUNDLES_FOLDER": str(self.bundle.parent),
            "SERVED_BUNDLE": "/bundles/served",
            **settings,
        }

    @property
    def environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("CIN_", "COMPOSE_"))}
        return {**inherited, **self.settings}

    def compose(self, *arguments: str, **options: Any) -> str:
        return run(*self.command, *arguments, cwd=REPOSITORY, env=self.environment, **options).stdout

    def up(self, *, replicas: int) -> float:
        """Start, or change to so many replicas; seconds until all of them take requests through the proxy."""
        began = time.monotonic()
        self.settings["SERVICE_REPLICAS"] = str(replicas)
        self.compose("up", "--detach", "--no-recreate")
        wait_for(self.all_healthy, f"{replicas} healthy replicas")
        wait_for(self.is_ready, "an answer through the proxy")
        return time.monotonic() - began

    def down(self) -> None:
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "1")

    def containers(self, service: str = "service") -> list[str]:
        return self.compose("ps", "--all", "-q", service).split()

    def all_healthy(self) -> bool:
        states = [inspect(id)["State"] for id in self.containers()]
        return all(state["Running"] and state["Health"]["Status"] == "healthy" for state in states)

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def inside(self, url: str) -> Any:
        """The JSON at an address that only machines inside the stack can reach."""
        script = f"import urllib.request as r; print(r.urlopen({url!r}, timeout=10).read().decode())"
        return json.loads(self.beside(script))

    def beside(self, script: str) -> str:
        """What a Python script prints in a container of its own on the inner network."""
        network = f"{self.project}_inside"
        return run(
            "docker", "run", "--rm", "--network", network, "--entrypoint", "python", self.image, "-c", script
        ).stdout

    def query(self, promql: str) -> list[dict[str, Any]]:
        """What Prometheus answers."""
        asked = httpx.QueryParams(query=promql)
        result: list[dict[str, Any]] = self.inside(f"http://prometheus:9090/api/v1/query?{asked}")["data"]["result"]
        return result


def damage(bundle: Path) -> None:
    """Give the canary another image than the one its known answer is for."""
    path = bundle / "canary.jpg"
    with Image.open(path) as picture:
        ImageOps.invert(picture.convert("RGB")).save(path)


def inspect(id: str) -> dict[str, Any]:
    described: dict[str, Any] = json.loads(run("docker", "inspect", id).stdout)[0]
    return described


def address(id: str, network: str = "inside") -> str:
    """A container's address on one of the stack's networks."""
    networks = inspect(id)["NetworkSettings"]["Networks"]
    return next(str(n["IPAddress"]) for name, n in networks.items() if name.endswith(f"_{network}"))


def in_container(id: str, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return run("docker", "exec", id, *command, check=check)


def predict(client: httpx.Client, picture: bytes) -> httpx.Response:
    """Send an image in a form."""
    return client.post("/predict", files={"image": ("lesion.jpg", picture)})
