"""The translation of pods leaves nothing out in silence."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from tests.helm.chart import Object, pod_of, render
from tests.helm.pod_spec import Pod

SECRETS = {"redis": {"url": "redis://:secret@redis:6379/0"}}
VOLUMES = {"keys": "one", "audit": "two"}


@pytest.fixture(scope="module")
def spec(helm: str) -> Object:
    return pod_of(render(helm, "cpu", "keda"))


def parts(value: Any) -> Iterator[Object]:
    """Every object in the specification, that of spreading over nodes excepted."""
    if isinstance(value, dict):
        yield value
        for name, each in value.items():
            if name != "topologySpreadConstraints":
                yield from parts(each)
    elif isinstance(value, list):
        for each in value:
            yield from parts(each)


def test_a_pod_becomes_options(spec: Object) -> None:
    *options, image = Pod.model_validate(spec).docker_arguments(SECRETS, VOLUMES)
    assert image == "clinical-inspired-network:cpu"
    assert {"--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges:true"} <= set(options)
    assert {"--user=10001:10001", "--group-add=10001", "--cpus=2.0", "--cpu-shares=2048"} <= set(options)
    assert f"--memory={4 * 2**30}" in options
    assert "--env=CIN_RECORDS_URL=redis://:secret@redis:6379/0" in options
    assert f"--tmpfs=/tmp:exec,mode=2777,gid=10001,size={2**26}" in options
    assert "--mount=type=volume,source=one,target=/keys,volume-nocopy,readonly" in options
    assert "--mount=type=volume,source=two,target=/audit,volume-nocopy" in options


def test_what_the_pod_does_not_say_is_not_given(spec: Object) -> None:
    loose = copy.deepcopy(spec)
    del loose["containers"][0]["securityContext"]
    options = set(Pod.model_validate(loose).docker_arguments(SECRETS, VOLUMES))
    assert not options & {"--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges:true"}


def test_a_field_that_it_does_not_know_is_refused_wherever_it_is(spec: Object) -> None:
    num_parts = sum(1 for _ in parts(spec))
    assert num_parts > 30
    for i in range(num_parts):
        other = copy.deepcopy(spec)
        list(parts(other))[i]["hostNetwork"] = True
        with pytest.raises(ValidationError, match="hostNetwork"):
            Pod.model_validate(other)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (["securityContext", "runAsUser"], 0, "root"),
        (["securityContext", "seccompProfile", "type"], "Unconfined", "RuntimeDefault"),
        (["automountServiceAccountToken"], True, "False"),
        (["containers", 0, "env", 0, "value"], "$(OTHER)", "a reference"),
        (["containers", 0, "resources", "limits", "memory"], "4 GB", "the amount"),
        (["containers", 0, "livenessProbe", "httpGet"], None, "httpGet"),
        (["volumes", 0, "emptyDir", "medium"], "", "Memory"),
        (["volumes", 0, "emptyDir"], None, "not of one kind"),
    ],
)
def test_what_cannot_be_had_from_docker_is_refused(spec: Object, path: list[Any], value: Any, words: str) -> None:
    other = copy.deepcopy(spec)
    part: Any = other
    for step in path[:-1]:
        part = part[step]
    part[path[-1]] = value
    with pytest.raises(ValidationError, match=words):
        Pod.model_validate(other)


def test_a_gpu_and_a_missing_secret_are_refused(helm: str, spec: Object) -> None:
    with pytest.raises(ValidationError, match=r"nvidia\.com/gpu"):
        Pod.model_validate(pod_of(render(helm, "gpu")))
    with pytest.raises(KeyError, match="redis"):
        list(Pod.model_validate(spec).docker_arguments({}, VOLUMES))
