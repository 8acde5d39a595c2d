"""The CPU image: small, pinned, reproducible, and nothing in it that serving does not need."""

from __future__ import annotations

import json
import re
import time
import tomllib
from collections.abc import Callable
from typing import Any

from packaging.utils import canonicalize_name

from tests.compose.stack import in_container, inspect, run, wait_for
from tests.paths import REPOSITORY
from tests.test_project import pins

BASE = "python:3.11-slim-bookworm"


def project() -> dict[str, Any]:
    """The table ``project`` of ``pyproject.toml``."""
    table: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return table


def python(image: str, script: str) -> str:
    return run("docker", "run", "--rm", "--network", "none", "--entrypoint", "python", image, "-c", script).stdout


def test_its_size(image: str, note: Callable[[str], None]) -> None:
    size, base = (inspect(name)["Size"] / 1e6 for name in (image, BASE))
    note(f"image {size:.0f} MB: {base:.0f} MB of {BASE} as it is here, {size - base:.0f} MB of ours")
    assert size <= 600


def test_how_fast_it_starts(image: str, note: Callable[[str], None]) -> None:
    began = time.monotonic()
    alone = ["--read-only", "--tmpfs", "/tmp", "--network", "none", "--env", "CIN_ALLOW_ANYONE=true"]
    id = run("docker", "run", "--detach", *alone, image).stdout.strip()
    try:
        check = inspect(id)["Config"]["Healthcheck"]["Test"][1:]
        wait_for(lambda: in_container(id, *check, check=False).returncode == 0, "the health check passes")
        note(f"one container by itself took requests {time.monotonic() - began:.1f} s after docker run")
    finally:
        run("docker", "rm", "--force", id)


def test_what_it_says_of_itself(image: str) -> None:
    config = inspect(image)["Config"]
    labels = {name.removeprefix("org.opencontainers.image."): text for name, text in config["Labels"].items()}
    assert labels["version"] == project()["version"]
    assert labels["licenses"] == project()["license"]
    assert labels["base.name"] == BASE
    assert {"title", "description", "revision"} <= labels.keys()
    assert config["User"] == "10001:10001"
    assert config["Healthcheck"]["Test"][0] == "CMD"
    assert not {"curl", "wget"} & set(config["Healthcheck"]["Test"])


def test_every_package_is_pinned_and_none_is_for_training(image: str) -> None:
    script = (
        "import json, importlib.metadata as m; print(json.dumps({d.name: d.version for d in m.distributions(path=["
        "'/opt/cin/lib/python3.11/site-packages'])}))"
    )
    installed = {str(canonicalize_name(name)): version for name, version in json.loads(python(image, script)).items()}
    assert installed.pop("clinical-inspired-network") == project()["version"]
    assert {name: pins().get(name) for name in installed} == installed
    assert "onnxruntime" in installed
    assert not {"torch", "onnx", "onnxruntime-gpu", "pip", "setuptools", "uv"} & installed.keys()


def test_no_compiler_no_torch_and_no_newer_file(image: str) -> None:
    epoch = re.search(r"SOURCE_DATE_EPOCH=(\d+)", (REPOSITORY / "docker/Dockerfile").read_text(encoding="utf-8"))
    assert epoch is not None
    script = f"""
import importlib.util, pathlib, shutil
print([name for name in ("gcc", "cc", "g++", "make") if shutil.which(name)])
print([name for name in ("torch", "model_training") if importlib.util.find_spec(name)])
files = list(pathlib.Path("/opt/cin").rglob("*"))
print(sum(file.lstat().st_mtime > {epoch[1]} for file in files))
print(sum(file.suffix == ".pyc" for file in files) > 1000)
"""
    assert python(image, script).split() == ["[]", "[]", "0", "True"]


def files(image: str, folder: str) -> str:
    """Name, type, mode, time and SHA-256 of everything in a folder of an image."""
    listing = (
        f"cd {folder} && find . -mindepth 1 -printf '%p %y %m %T@ %l\n' | sort"
        " && find . -type f -print0 | sort -z | xargs -0 sha256sum"
    )
    return run("docker", "run", "--rm", "--network", "none", "--entrypoint", "sh", image, "-c", listing).stdout


def test_the_same_sources_give_the_same_files(image: str) -> None:
    again = f"{image}-again"
    command = ["docker", "build", "--no-cache", "--file", "docker/Dockerfile", "--target", "code", "--tag", again, "."]
    run(*command, cwd=REPOSITORY)
    try:
        for name in ("service", f"clinical_inspired_network-{project()['version']}.dist-info"):
            folder = f"/opt/cin/lib/python3.11/site-packages/{name}"
            built, rebuilt = files(image, folder), files(again, folder)
            assert built.count("\n") > 5
            assert built == rebuilt
    finally:
        run("docker", "rmi", again)
