"""What the repository promises about itself."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import REPOSITORY

MAX_REPOSITORY_BYTES = 250 * 2**20
MAX_FILE_BYTES = 2**20  # outside the bundle

# What training may take from the service: the contract and the pixels.
SHARED_WITH_TRAINING = {"service.bundle", "service.imaging"}


def tracked_files() -> list[Path]:
    command = ["git", "ls-files", "-z"]
    names = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    return [REPOSITORY / name for name in names.split("\0") if name and (REPOSITORY / name).is_file()]


def imported_modules(path: Path) -> set[str]:
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module)
    return modules


def requirements() -> list[Requirement]:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    return [Requirement(line) for line in lines]


def pins() -> dict[str, str]:
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"==[^,+*]+", str(p.specifier)) for p in pinned), "exact and without local versions"
    return {canonicalize_name(p.name): str(p.specifier)[2:] for p in pinned}


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_every_requirement_has_a_floor_and_a_pin_above_it(requirement: Requirement) -> None:
    assert any(s.operator == ">=" for s in requirement.specifier)
    assert requirement.specifier.contains(pins()[canonicalize_name(requirement.name)])


def test_the_service_knows_nothing_of_training() -> None:
    for path in (REPOSITORY / "service").rglob("*.py"):
        roots = {module.split(".")[0] for module in imported_modules(path)}
        assert not roots & {"torch", "monai", "onnx", "model_training", "lightning_fabric"}, path


def test_training_takes_only_the_contract_and_the_pixels_from_the_service() -> None:
    for path in (REPOSITORY / "model_training").rglob("*.py"):
        taken = {module for module in imported_modules(path) if module.split(".")[0] == "service"}
        assert taken <= SHARED_WITH_TRAINING, path


def test_no_machine_and_no_registry_is_named() -> None:
    patterns = [
        r"/ro" + r"ot/",
        r"/ho" + r"me/\w",
        r"/wo" + r"rk/",
        r"py" + r"pi\.org",
        r"python" + r"hosted",
        r"registry\.npm",
    ]
    for path in tracked_files():
        content = path.read_bytes()
        if b"\0" not in content:
            found = re.search("|".join(patterns), content.decode("utf-8"))
            assert found is None, f"{path.name}: {found}"


def test_the_repository_stays_small() -> None:
    sizes = {path: path.stat().st_size for path in tracked_files()}
    assert sum(sizes.values()) < MAX_REPOSITORY_BYTES
    large = [p.name for p, size in sizes.items() if size > MAX_FILE_BYTES and "bundles" not in p.parts]
    assert large == []


def test_the_shipped_bundle_is_at_most_60_mb_for_each_variant() -> None:
    folder = REPOSITORY / "service" / "bundles" / "cin-isic2017"
    graphs = list(folder.glob("*.onnx"))
    assert max(path.stat().st_size for path in graphs) <= 60_000_000
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 60_000_000 * len(graphs)


def test_ci_script_is_valid_bash() -> None:
    subprocess.run(["bash", "-n", ".ci/run"], cwd=REPOSITORY, check=True)
