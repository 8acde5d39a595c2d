"""Clients that people use, each of which must read why its request was refused before it was sent."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from tests.torture.plan import Plan
from tests.torture.rows import Row, none_of
from tests.torture.served import Served

_BYTES = 30_000_000

# Each prints the status of a POST; its arguments are an address and the file to send.
_PYTHON = {
    "urllib": """
import sys, urllib.error, urllib.request
request = urllib.request.Request(sys.argv[1], open(sys.argv[2], "rb").read(), {"Content-Type": "image/jpeg"})
try:
    print(urllib.request.urlopen(request).status)
except urllib.error.HTTPError as error:
    print(error.code)
""",
    "requests": """
import sys, requests
headers = {"Content-Type": "image/jpeg"}
print(requests.post(sys.argv[1], data=open(sys.argv[2], "rb").read(), headers=headers).status_code)
""",
    "httpx": """
import sys, httpx
headers = {"Content-Type": "image/jpeg"}
print(httpx.post(sys.argv[1], content=open(sys.argv[2], "rb").read(), headers=headers, timeout=60).status_code)
""",
}
_NODE = """
const [address, path] = process.argv.slice(1);
const body = require("fs").readFileSync(path);
const headers = {"Content-Type": "image/jpeg"};
fetch(address, {method: "POST", body, headers}).then((answer) => console.log(answer.status));
"""
# Java's client asks for HTTP/2 on every connection.
_JAVA = """
import java.net.URI;
import java.net.http.*;
import java.nio.file.Path;
class Client {
    public static void main(String[] arguments) throws Exception {
        var request = HttpRequest.newBuilder(URI.create(arguments[0])).header("Content-Type", "image/jpeg")
            .POST(HttpRequest.BodyPublishers.ofFile(Path.of(arguments[1]))).build();
        System.out.println(HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString()).statusCode());
    }
}
"""


def check(plan: Plan, picture: Path) -> Iterator[Row]:
    """A picture, one that is too large, and an address that does not exist, by each client of this machine."""
    with Served(plan.settings()) as served, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "large.jpg").write_bytes(bytes(_BYTES))
        (folder / "Client.java").write_text(_JAVA, encoding="utf-8")
        asked = {
            200: (f"{served.url}/predict", str(picture)),
            413: (f"{served.url}/predict", str(folder / "large.jpg")),
            404: (f"{served.url}/nothing", str(folder / "large.jpg")),
        }
        for client, command in _clients(folder).items():
            wrong = sum(_status(command, *arguments) != status for status, arguments in asked.items())
            yield none_of(f"early answers, {client}: statuses not read, of {len(asked)}", wrong)


def _clients(folder: Path) -> dict[str, list[str]]:
    found = {
        client: [sys.executable, "-c", text]
        for client, text in _PYTHON.items()
        if client == "urllib" or find_spec(client)
    }
    curl = 'exec curl -s -o /dev/null -w %{http_code} -H "Content-Type: image/jpeg"'
    commands = {
        "curl": ["sh", "-c", f'{curl} --data-binary "@$2" "$1"', "sh"],
        "curl --http2": ["sh", "-c", f'{curl} --http2 --data-binary "@$2" "$1"', "sh"],
        "node": ["node", "-e", _NODE],
        "java": ["java", str(folder / "Client.java")],
    }
    return found | {client: c for client, c in commands.items() if shutil.which(client.partition(" ")[0])}


def _status(command: list[str], address: str, path: str) -> int:
    done = subprocess.run([*command, address, path], capture_output=True, text=True, timeout=120, check=False)
    return int(done.stdout) if done.stdout.strip().isdecimal() else 0
