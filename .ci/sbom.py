"""Write the bill of materials (CycloneDX) of what serving needs: its packages as they are installed, and the model.

    python .ci/sbom.py build/sbom.json

A package has the SHA-256 of the files that it may be installed from (requirements.lock), and what it bundles: shared
libraries, Pillow's decoders, the files of Swagger UI. The same installation gives the same file, without anything of
the machine it was made on.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackagePath, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import features

from service.bundle import load_bundle
from service.settings import SHIPPED_BUNDLE

PROJECT = "clinical-inspired-network"
# What the image is installed with, beside what a GPU needs.
EXTRAS = frozenset({"dicom", "jobs"})
REPOSITORY = Path(__file__).parent.parent


def needed(name: str, extras: frozenset[str] = frozenset()) -> set[str]:
    """The packages that ``name`` with ``extras`` needs on this machine, itself among them, by canonical name."""
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [(name, extras)]
    while waiting:
        package, chosen = waiting.pop()
        if (package, chosen) in seen:
            continue
        seen.add((package, chosen))
        for line in distribution(package).requires or ():
            wanted = Requirement(line)
            if wanted.marker is None or any(wanted.marker.evaluate({"extra": extra}) for extra in {"", *chosen}):
                waiting.append((canonicalize_name(wanted.name), frozenset(wanted.extras)))
    return {package for package, _ in seen}


def locked() -> dict[str, list[str]]:
    """The SHA-256 of every file of a package in requirements.lock, by canonical name."""
    text = (REPOSITORY / "requirements.lock").read_text(encoding="utf-8")
    blocks = re.findall(r"^([A-Za-z0-9._-]+)==((?:.*\\\n)*.*)$", text, re.MULTILINE)
    return {canonicalize_name(name): re.findall(r"--hash=sha256:([0-9a-f]{64})", block) for name, block in blocks}


def with_hashes(component: dict[str, Any], hashes: Sequence[str]) -> dict[str, Any]:
    """The component with the files that its package may be installed from."""
    reference = {
        "type": "distribution",
        "url": "requirements.lock",
        "comment": "one of these files was installed",
        "hashes": [{"alg": "SHA-256", "content": digest} for digest in hashes],
    }
    return {**component, "externalReferences": [*component.get("externalReferences", ()), reference]}


def bundled(package: str) -> list[dict[str, Any]]:
    """What is inside a package and has no entry of its own: libraries by version, files by SHA-256."""
    files = [file for file in distribution(package).files or () if _is_bundled(file)]
    components: list[dict[str, Any]] = [
        {"type": "file", "name": str(file), "hashes": [{"alg": "SHA-256", "content": _sha256(file)}]} for file in files
    ]
    if package == "pillow":
        names = sorted({*features.modules, *features.codecs, *features.features} - {"pil", "tkinter"})
        versions = {name: features.version(name) for name in names}
        components += [{"type": "library", "name": n, "version": v} for n, v in versions.items() if v is not None]
    return [{"bom-ref": f"{package}:{component['name']}", **component} for component in components]


def _is_bundled(file: PackagePath) -> bool:
    return file.parts[0].endswith(".libs") or (len(file.parts) > 1 and file.parts[1] == "static")


def _sha256(file: PackagePath) -> str:
    return hashlib.sha256(Path(str(file.locate())).read_bytes()).hexdigest()


def model() -> dict[str, Any]:
    """The shipped bundle; the digest of its manifest fixes every file of it."""
    bundle = load_bundle(SHIPPED_BUNDLE)
    manifest = bundle.manifest
    return {
        "type": "machine-learning-model",
        "bom-ref": f"bundle:{manifest.name}@{manifest.version}",
        "name": manifest.name,
        "version": manifest.version,
        "hashes": [{"alg": "SHA-256", "content": bundle.sha256}],
        "licenses": [{"license": {"name": manifest.licence}}],
    }


def bill() -> dict[str, Any]:
    """The whole document."""
    # Validation of every installed package takes ten times as long as all else; a test validates what is written.
    options = ["--no-validate", "--output-reproducible", "--of", "JSON"]
    command = [sys.executable, "-m", "cyclonedx_py", "environment", *options]
    project = ["--pyproject", str(REPOSITORY / "pyproject.toml")]
    made = subprocess.run([*command, *project, sys.executable], capture_output=True, text=True, check=True)
    document: dict[str, Any] = json.loads(made.stdout)
    wanted = needed(PROJECT, EXTRAS)
    kept = [c for c in document["components"] if canonicalize_name(c["name"]) in wanted - {PROJECT}]
    root = document["metadata"]["component"]["bom-ref"]
    refs = {root, *(component["bom-ref"] for component in kept)}
    hashes = locked()
    for index, component in enumerate(kept):
        name = canonicalize_name(component["name"])
        inside = bundled(name)
        kept[index] = with_hashes(component, hashes[name]) | ({"components": inside} if inside else {})
    document["components"] = [*kept, model()]
    document["dependencies"] = [
        {**edge, "dependsOn": [ref for ref in edge.get("dependsOn", ()) if ref in refs]}
        for edge in document["dependencies"]
        if edge["ref"] in refs
    ]
    return document


if __name__ == "__main__":
    out = Path(sys.argv[1])
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(bill(), indent=2) + "\n", encoding="utf-8")
