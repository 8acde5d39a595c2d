"""Write the bill of materials (CycloneDX) of what serving needs: its packages as they are installed, and the model.

    python .ci/sbom.py build/sbom.json

The same installation gives the same file, without anything of the machine it was made on.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from service.bundle import load_bundle
from service.settings import SHIPPED_BUNDLE

PROJECT = "clinical-inspired-network"
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
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible", "--of", "JSON"]
    project = ["--pyproject", str(REPOSITORY / "pyproject.toml")]
    made = subprocess.run([*command, *project, sys.executable], capture_output=True, text=True, check=True)
    document: dict[str, Any] = json.loads(made.stdout)
    wanted = needed(PROJECT)
    kept = [c for c in document["components"] if canonicalize_name(c["name"]) in wanted - {PROJECT}]
    root = document["metadata"]["component"]["bom-ref"]
    refs = {root, *(component["bom-ref"] for component in kept)}
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
