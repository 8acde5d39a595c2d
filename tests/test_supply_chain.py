"""What runs is what was meant to: no pickle is loaded, the bill of materials names everything, a bundle is checked."""

from __future__ import annotations

import ast
import itertools
import json
import re
import runpy
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path
from typing import NamedTuple

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from service.bundle import Bundle, BundleError, file_sha256, load_bundle
from tests.paths import REPOSITORY
from tests.test_project import pins, tracked_files

# Their files are programs. To import only an error class, use `from ... import`.
PICKLES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "pickletools"}
HARMLESS = {("pickle", "UnpicklingError"), ("pickle", "PickleError")}
# Functions that may load a pickle by default.
TOLD = {"np.load": ("allow_pickle", False), "numpy.load": ("allow_pickle", False), "torch.load": ("weights_only", True)}
NEVER = {"yaml.load", "yaml.unsafe_load", "yaml.full_load", "pd.read_pickle", "pandas.read_pickle", "torch.hub.load"}


def unsafe_loads(source: str) -> list[str]:
    """Every way in which Python source could load a pickle, or YAML that makes objects."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [f"import {alias.name}" for alias in node.names if alias.name.partition(".")[0] in PICKLES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in PICKLES:
            names = [alias.name for alias in node.names if (node.module, alias.name) not in HARMLESS]
            found += [f"from {node.module} import {name}" for name in names]
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            keywords = {keyword.arg: keyword.value for keyword in node.keywords}
            if called in NEVER:
                found.append(called)
            if called in TOLD:
                name, value = TOLD[called]
                said = keywords.get(name)
                if not (isinstance(said, ast.Constant) and said.value is value):
                    found.append(f"{called} without {name}={value}")
            if isinstance(allowed := keywords.get("allow_pickle"), ast.Constant) and allowed.value is not False:
                found.append(f"{called} with allow_pickle")
    return found


@pytest.mark.parametrize("path", [p for p in tracked_files() if p.suffix == ".py"], ids=lambda p: p.stem)
def test_no_pickle_is_loaded_anywhere(path: Path) -> None:
    assert unsafe_loads(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import joblib as j",
        "from pickle import loads",
        "import torch; torch.load('x')",
        "import torch; torch.load('x', weights_only=False)",
        "import torch; torch.load('x', weights_only=flag)",
        "import numpy as np; np.load('x')",
        "import numpy as np; np.load('x', allow_pickle=True)",
        "import yaml; yaml.load(text, Loader=yaml.Loader)",
    ],
)
def test_what_would_be_found(source: str) -> None:
    assert unsafe_loads(source) != []


LINUX = {
    "sys_platform": "linux",
    "platform_machine": "x86_64",
    "python_version": "3.11",
    "python_full_version": "3.11.7",
}
# What installs, what builds, and the build of ONNX Runtime that the image takes.
TOOLS = {"uv", "setuptools", "onnxruntime"}


class Locked(NamedTuple):
    """One package in requirements.lock."""

    requirement: Requirement
    hashes: list[str]


def lock() -> dict[str, Locked]:
    """requirements.lock by canonical name."""
    text = (REPOSITORY / "requirements.lock").read_text(encoding="utf-8")
    lines = [line.strip() for line in text.replace("\\\n", " ").splitlines() if not line.startswith("#")]
    packages = {}
    for line in lines:
        requirement, *hashes = line.split(" --hash=sha256:")
        parsed = Requirement(requirement)
        packages[str(canonicalize_name(parsed.name))] = Locked(parsed, [digest.strip() for digest in hashes])
    assert len(packages) == len(lines)
    return packages


def test_the_lock_has_exact_versions_and_hashes_and_no_address() -> None:
    for name, (requirement, hashes) in lock().items():
        assert re.fullmatch(r"==[^,+*]+", str(requirement.specifier)), name
        assert requirement.url is None, name
        assert hashes, name
        assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in hashes), name


def test_the_lock_has_the_versions_of_the_constraints() -> None:
    """Those for other systems alone have no pin."""
    pinned = pins()
    for name, (requirement, _) in lock().items():
        if name in pinned:
            assert str(requirement.specifier) == f"=={pinned[name]}", "run make lock"
        else:
            marker = requirement.marker
            assert name.startswith("nvidia-") or (marker is not None and not marker.evaluate(LINUX)), name


def test_the_lock_is_what_serving_needs() -> None:
    """Compared with the packages that are installed here, and what they require."""
    locked = lock()
    bill = runpy.run_path(str(REPOSITORY / ".ci" / "sbom.py"))
    project = "clinical-inspired-network"
    needed = bill["needed"](project, bill["EXTRAS"]) - {project}
    assert needed <= locked.keys(), "run make lock"
    here = {name for name, (r, _) in locked.items() if r.marker is None or r.marker.evaluate()}
    assert {name for name in here - needed if not name.startswith("nvidia-")} <= TOOLS, "run make lock"


def test_the_lock_meets_every_requirement_of_the_project() -> None:
    locked = lock()
    table = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    project, backends = table["project"], table["build-system"]["requires"]
    extras = project["optional-dependencies"]
    for line in (*project["dependencies"], *extras["dicom"], *extras["gpu"], *extras["jobs"], *backends):
        requirement = Requirement(line)
        version = str(locked[canonicalize_name(requirement.name)].requirement.specifier)[2:]
        assert requirement.specifier.contains(version), "run make lock"
    (backend,) = backends
    assert backend == str(locked["setuptools"].requirement)
    assert any(name.startswith("nvidia-cudnn") for name in locked), "CUDA's libraries for the GPU image"


def test_images_are_built_from_what_is_in_the_lock() -> None:
    dockerfile = (REPOSITORY / "docker" / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    installs = re.findall(r"pip install .*", dockerfile)
    assert len(installs) == 4
    for command in installs:
        assert "requirements.lock" in command or "--require-hashes" in command, command


def test_what_is_installed_here_is_checked_against_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[str] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        if "--requirement" in command:
            given.append(Path(command[-1]).read_text(encoding="utf-8"))
            assert "--require-hashes" in command
        return subprocess.CompletedProcess(command, 0, stdout="")

    commands: list[list[str]] = []
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr("os.execve", lambda program, command, environment: commands.append(command))
    runpy.run_path(str(REPOSITORY / ".ci" / "install.py"))["main"](".")
    (uv,) = given
    assert uv.startswith("uv==")
    assert uv.count("--hash=sha256:") == len(lock()["uv"].hashes)
    (command,) = commands
    options = list(itertools.pairwise(command))
    assert ("--constraint", "requirements.lock") in options
    assert ("--build-constraints", "requirements.lock") in options


@pytest.fixture(scope="module")
def bill(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make sbom` writes."""
    out = tmp_path_factory.mktemp("sbom") / "sbom.json"
    planned = subprocess.run(["make", "-n", "sbom"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    assert ".ci/sbom.py build/sbom.json" in planned
    subprocess.run([sys.executable, REPOSITORY / ".ci" / "sbom.py", out], check=True)
    return out


@pytest.mark.integration
def test_the_bill_of_materials_names_what_serving_needs_and_nothing_else(bill: Path, shipped_bundle: Bundle) -> None:
    text = bill.read_text(encoding="utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    document = json.loads(text)
    assert document["metadata"]["component"]["name"] == "clinical-inspired-network"
    versions = {c["name"].lower().replace("_", "-"): c["version"] for c in document["components"]}
    assert any(name in versions for name in ("onnxruntime", "onnxruntime-gpu"))
    assert {
        "fastapi",
        "starlette",
        "uvicorn",
        "pillow",
        "numpy",
        "redis",
        "h11",
        "fastapi-offline",
        "pydicom",
        "pyjpegls",
        "dramatiq",
    } <= versions.keys()
    assert not {"torch", "pytest", "ruff", "cyclonedx-bom"} & versions.keys()
    pinned = pins()
    assert {name: pinned.get(name) for name in versions if name != shipped_bundle.manifest.name} == {
        name: version for name, version in versions.items() if name != shipped_bundle.manifest.name
    }
    (model,) = [c for c in document["components"] if c["type"] == "machine-learning-model"]
    assert (model["name"], model["hashes"][0]["content"]) == (shipped_bundle.manifest.name, shipped_bundle.sha256)
    assert all(c.get("licenses") for c in document["components"] if c["name"] not in ("flatbuffers", "protobuf"))
    locked = lock()
    for component in document["components"]:
        if component["type"] != "machine-learning-model":
            (files,) = [r for r in component["externalReferences"] if r["type"] == "distribution" and "hashes" in r]
            expected = locked[str(canonicalize_name(component["name"]))].hashes
            assert [digest["content"] for digest in files["hashes"]] == expected
    bundled = {part["name"]: part for c in document["components"] for part in c.get("components", ())}
    assert {"libjpeg_turbo", "libtiff", "webp", "zlib", "littlecms2"} <= bundled.keys()
    script = bundled["fastapi_offline/static/swagger-ui-bundle.js"]
    file = distribution("fastapi-offline").locate_file(script["name"])
    assert script["hashes"] == [{"alg": "SHA-256", "content": file_sha256(Path(str(file)))}]
    for place in (REPOSITORY, Path(sys.prefix), Path.home()):
        assert str(place) not in text


@pytest.mark.integration
def test_known_vulnerabilities_are_looked_for_in_every_pin() -> None:
    planned = subprocess.run(
        ["make", "-n", "audit-packages"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    assert "pip-audit --requirement constraints.txt" in planned


def test_a_bundle_with_one_changed_byte_is_not_loaded(shipped_bundle: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    folder.mkdir()
    for path in shipped_bundle.folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    load_bundle(folder)
    card = folder / "MODEL_CARD.md"
    card.write_bytes(card.read_bytes().replace(b"e", b"3", 1))
    with pytest.raises(BundleError, match="SHA-256"):
        load_bundle(folder)
