"""Firefox and WebKit, driven as W3C WebDriver has it: Firefox by its own Marionette, WebKit by WebKitWebDriver."""

from __future__ import annotations

import base64
import json
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import httpx

_SCRIPT_SECONDS = 120
_ADDRESSES = {"Navigate": "url", "ExecuteAsyncScript": "execute/async", "TakeScreenshot": "screenshot"}
_MINI_BROWSERS = ("/usr/lib/*/webkit2gtk-4.*/MiniBrowser", "/usr/lib/*/webkitgtk-6.*/MiniBrowser")
_PREFERENCES = {
    "marionette.port": 0,  # any free one; the profile says which
    "app.update.disabledForTesting": True,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "toolkit.telemetry.server": "",
}
# Of the page's origin, warnings left out; violations of the content security policy are among them.
_SAID = """
return Services.console.getMessageArray()
  .filter((said) => said instanceof Ci.nsIScriptError && !(said.flags & Ci.nsIScriptError.warningFlag))
  .filter((said) => said.sourceName.startsWith(arguments[0]))
  .map((said) => said.errorMessage);
"""

_LISTEN = """
window.heard = [];
for (const kind of ["error", "unhandledrejection", "securitypolicyviolation"]) {
  addEventListener(kind, (event) => heard.push(`${event.message ?? event.reason ?? event.violatedDirective}`), true);
}
console.error = (...said) => heard.push(said.join(" "));
"""
_HEARD = "return window.heard ?? [];"


class Missing(Exception):  # noqa: N818
    """The browser, or what it needs, is not on this machine; the text says what to install."""


class Driven(Protocol):
    """A browser with one window."""

    def goto(self, url: str) -> None:
        """Load a page."""

    def run(self, body: str, *arguments: Any) -> Any:
        """What the body of an async function in the page returns; what it throws fails the test."""

    def screenshot(self) -> bytes:
        """The window as PNG."""

    def errors(self, origin: str) -> list[str]:
        """What the console calls errors of an origin's pages."""


class _Commands:
    """The commands that both have, by :meth:`send`."""

    def send(self, name: str, /, **parameters: Any) -> Any:
        """Send a command of WebDriver's and return its value."""
        raise NotImplementedError

    def goto(self, url: str) -> None:
        """Load a page."""
        self.send("Navigate", url=url)

    def run(self, body: str, *arguments: Any) -> Any:
        """What the body of an async function in the page returns."""
        script = f"""
        const [done, ...given] = [arguments[arguments.length - 1], ...Array.from(arguments).slice(0, -1)];
        (async function () {{ {body} }}).apply(null, given).then(
          (value) => done({{ value }}), (error) => done({{ error: `${{error}}` }}));
        """
        answer = self.send("ExecuteAsyncScript", script=script, args=list(arguments))
        assert "error" not in answer, answer["error"]
        return answer.get("value")

    def screenshot(self) -> bytes:
        """The window as PNG."""
        return base64.b64decode(self.send("TakeScreenshot"))


class Firefox(_Commands):
    """A running Firefox at the other end of Marionette's socket."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=2 * _SCRIPT_SECONDS)
        self._received, self._number = b"", 0
        self._receive()  # its greeting
        self.send("NewSession", capabilities={"alwaysMatch": {"timeouts": {"script": _SCRIPT_SECONDS * 1000}}})

    def send(self, name: str, /, **parameters: Any) -> Any:
        """Send a command; ``Marionette:`` ones by their whole name."""
        self._number += 1
        message = [0, self._number, name if ":" in name else f"WebDriver:{name}", parameters]
        text = json.dumps(message).encode()
        self._socket.sendall(str(len(text)).encode() + b":" + text)
        _, number, error, value = self._receive()
        assert number == self._number
        assert error is None, error
        return value["value"] if isinstance(value, dict) and "value" in value else value

    def print(self) -> bytes:
        """The page as PDF, on A4."""
        page = {"width": 21.0, "height": 29.7}
        return base64.b64decode(self.send("Print", page=page, background=False, shrinkToFit=False))

    def errors(self, origin: str) -> list[str]:
        """What the console calls errors of an origin's pages."""
        self.send("Marionette:SetContext", value="chrome")
        said: list[str] = self.send("ExecuteScript", script=_SAID, args=[origin])
        self.send("Marionette:SetContext", value="content")
        return said

    def _receive(self) -> Any:
        while b":" not in self._received:
            self._received += self._read()
        size, self._received = self._received.split(b":", 1)
        while len(self._received) < int(size):
            self._received += self._read()
        text, self._received = self._received[: int(size)], self._received[int(size) :]
        return json.loads(text)

    def _read(self) -> bytes:
        part = self._socket.recv(2**16)
        assert part, "Firefox has ended"
        return part


class WebKit(_Commands):
    """A session of WebKitWebDriver, which has no console: errors are listened for, from when a page is loaded."""

    def __init__(self, url: str, browser: str) -> None:
        self._client, self._said = httpx.Client(base_url=url, timeout=2 * _SCRIPT_SECONDS), list[str]()
        options = {"binary": browser, "args": ["--automation"]}
        wanted = {"webkitgtk:browserOptions": options, "timeouts": {"script": _SCRIPT_SECONDS * 1000}}
        answer = self._client.post("/session", json={"capabilities": {"alwaysMatch": wanted}}).json()["value"]
        self._session = f"/session/{answer['sessionId']}"

    def send(self, name: str, /, **parameters: Any) -> Any:
        """Send a command."""
        address = f"{self._session}/{_ADDRESSES[name]}"
        answer = self._client.post(address, json=parameters) if parameters else self._client.get(address)
        value = answer.json()["value"]
        assert answer.is_success, value
        return value

    def goto(self, url: str) -> None:
        """Load a page, and listen to it."""
        self._said += self.run(_HEARD)
        super().goto(url)
        self.run(_LISTEN)

    def errors(self, origin: str) -> list[str]:  # noqa: ARG002 - no other page is loaded
        """What went wrong in all pages that were loaded."""
        return [*self._said, *self.run(_HEARD)]


@contextmanager
def firefox(folder: Path) -> Iterator[Firefox]:
    """A Firefox with a profile of its own in ``folder``. Raises :class:`Missing`."""
    program = shutil.which("firefox-esr") or shutil.which("firefox")
    if program is None:
        raise Missing("there is no Firefox; Debian's package is called firefox-esr")
    preferences = (f'user_pref("{name}", {json.dumps(value)});\n' for name, value in _PREFERENCES.items())
    (folder / "user.js").write_text("".join(preferences), encoding="utf-8")
    command = [program, "--headless", "--no-remote", "--profile", str(folder), "--marionette"]
    # The console's messages are in the browser's own context.
    with _running([*command, "--remote-allow-system-access", "--width", "1280", "--height", "900"], folder / "log"):
        port = folder / "MarionetteActivePort"
        _eventually(lambda: port.exists() and port.read_text())
        yield Firefox(int(port.read_text()))


@contextmanager
def webkit(folder: Path) -> Iterator[WebKit]:
    """A WebKitGTK on a screen of its own. Raises :class:`Missing`."""
    driver, screen = shutil.which("WebKitWebDriver"), shutil.which("Xvfb")
    browser = next((str(path) for each in _MINI_BROWSERS for path in Path("/").glob(each[1:])), None)
    if driver is None or screen is None or browser is None:
        raise Missing("there is no WebKitGTK; Debian's packages are called webkit2gtk-driver and xvfb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    number = folder / "display"
    with _running([screen, "-displayfd", "1", "-screen", "0", "1280x900x24", "-nolisten", "tcp"], number):
        _eventually(lambda: number.read_text().strip())
        environment = {
            **{"DISPLAY": f":{number.read_text().strip()}", "PATH": "/usr/bin:/bin", "HOME": str(folder)},
            **{"GIO_USE_VFS": "local", "LIBGL_ALWAYS_SOFTWARE": "1", "NO_AT_BRIDGE": "1"},
        }
        with _running([driver, f"--port={port}"], folder / "log", environment):
            url = f"http://127.0.0.1:{port}"
            _eventually(lambda: _answers(url))
            yield WebKit(url, browser)


@contextmanager
def _running(command: list[str], output: Path, environment: dict[str, str] | None = None) -> Iterator[None]:
    with output.open("wb") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/status", timeout=5).is_success
    except httpx.HTTPError:
        return False


def _eventually(holds: Callable[[], object], seconds: float = 90) -> None:
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, "the browser does not start"
        time.sleep(0.1)
