"""Install this project and what it needs into this Python's environment, by uv, from wherever pip is set up to look.

    .venv/bin/python .ci/install.py '.[dicom,train,dev]'

uv is several times as fast as pip and reads none of its configuration, so mirrors and wheel folders are passed on. uv,
the build backend and what serving needs are checked against the SHA-256 in requirements.lock; what only training and
tests need has exact versions alone, because PyTorch's builds differ between platforms and sources.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
LOCK = "requirements.lock"
# Of pip's options, those that say where packages come from: uv's variable, and what separates its values.
PASSED_ON = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "no-index": ("UV_NO_INDEX", " "),
    "constraint": ("UV_CONSTRAINT", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "default-timeout": ("UV_HTTP_TIMEOUT", " "),
}


def from_pip() -> dict[str, str]:
    """pip's configuration as uv's environment variables."""
    # Later lines of pip's list take precedence.
    listed = subprocess.run([*PIP, "config", "list"], capture_output=True, text=True, check=True).stdout
    options = dict(line.split("=", 1) for line in listed.splitlines() if "=" in line)
    values = {name.rpartition(".")[2]: str(ast.literal_eval(value)) for name, value in options.items()}
    return {
        variable: separator.join(values[option].split())
        for option, (variable, separator) in PASSED_ON.items()
        if option in values
    }


def install_uv() -> None:
    """Install uv with pip, which takes hashes from requirements only, not from constraints."""
    locked = re.search(r"^uv==(?:.*\\\n)*.*\n", Path(LOCK).read_text(encoding="utf-8"), re.MULTILINE)
    assert locked is not None
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(locked[0])
        file.flush()
        subprocess.run([*PIP, "install", "--quiet", "--require-hashes", "--requirement", file.name], check=True)


def main(requirement: str) -> None:
    """Replace this process by uv's."""
    install_uv()
    # As pip does: the best version of all indexes, not the first index that has any.
    environment = {"UV_INDEX_STRATEGY": "unsafe-best-match", **from_pip(), **os.environ}
    uv = str(Path(sys.executable).with_name("uv"))
    command = [uv, "pip", "install", "--quiet", "--python", sys.executable, "--constraint", "constraints.txt"]
    command += ["--constraint", LOCK, "--build-constraints", LOCK]
    os.execve(uv, [*command, "--editable", requirement], environment)


if __name__ == "__main__":
    main(sys.argv[1])
