"""What runs is what was meant to: no pickle is loaded, the bill of materials names everything, a bundle is checked."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from service.bundle import Bundle, BundleError, load_bundle
from tests.conftest import REPOSITORY
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
    } <= versions.keys()
    assert not {"torch", "monai", "pytest", "ruff", "cyclonedx-bom"} & versions.keys()
    pinned = pins()
    assert {name: pinned.get(name) for name in versions if name != shipped_bundle.manifest.name} == {
        name: version for name, version in versions.items() if name != shipped_bundle.manifest.name
    }
    (model,) = [c for c in document["components"] if c["type"] == "machine-learning-model"]
    assert (model["name"], model["hashes"][0]["content"]) == (shipped_bundle.manifest.name, shipped_bundle.sha256)
    assert all(c.get("licenses") for c in document["components"] if c["name"] not in ("flatbuffers", "protobuf"))
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
