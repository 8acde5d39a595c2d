"""A service to visit and a browser to visit it with."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from playwright.sync_api import Browser, Playwright

from service.app import create_app
from service.cli.serve import server_config
from service.runtime import Service
from service.settings import Settings

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_WITHOUT_NETLINK = Path(__file__).with_name("without_netlink.py")


@dataclass(frozen=True)
class Server:
    """A running service: where, and its object graph."""

    url: str
    app: FastAPI

    @property
    def service(self) -> Service:
        """The object graph."""
        service: Service = self.app.state.service
        return service


@contextmanager
def serving(**chosen: Any) -> Iterator[Server]:
    """A service on a free port of the loopback, in a thread, behind the connections that ``cin serve`` has."""
    settings = Settings(provider="cpu", **chosen)
    app = create_app(settings)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        config = server_config(app, settings)
        config.lifespan = "on"
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive(), "the service ended at its start"
                time.sleep(0.02)
            yield Server(f"http://127.0.0.1:{listening.getsockname()[1]}", app)
        finally:
            server.should_exit = True
            thread.join()


def launch(playwright: Playwright) -> Browser | None:
    """The Chromium of this machine; None where there is none."""
    program = next((found for name in _NAMES if (found := shutil.which(name))), None)
    if program is None:
        return None
    environment: dict[str, str | float | bool] = {**os.environ}
    if sys.platform == "linux":
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment |= {"PATH": path, "PROGRAM": program}
        program = str(_WITHOUT_NETLINK)
    # Chromium's own sandbox needs rights that a container seldom gives; the only pages are ours.
    return playwright.chromium.launch(executable_path=program, args=["--no-sandbox"], env=environment)
