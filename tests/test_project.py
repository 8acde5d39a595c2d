"""What the repository promises about itself."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.paths import REPOSITORY

MAX_REPOSITORY_BYTES = 350 * 2**20
MAX_FILE_BYTES = 2**20  # outside the bundle


def tracked_files() -> list[Path]:
    command = ["git", "ls-files", "-z"]
    names = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    return [REPOSITORY / name for name in names.split("\0") if name and (REPOSITORY / name).is_file()]


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


@pytest.mark.integration
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


@pytest.mark.integration
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


@pytest.mark.integration
def test_ci_script_is_valid_bash() -> None:
    subprocess.run(["bash", "-n", ".ci/run"], cwd=REPOSITORY, check=True)
