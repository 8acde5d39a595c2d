"""The Helm chart: every template rendered, valid for Kubernetes, and with settings that the service takes."""

from __future__ import annotations

import re

import pytest

from service.settings import Settings, unknown_variables
from tests.helm.chart import CHART, EXAMPLES, one, pod_of, render, run, scraped


@pytest.mark.parametrize("example", EXAMPLES)
def test_it_is_clean(helm: str, example: str) -> None:
    done = run(helm, "lint", "--strict", str(CHART), "--values", str(CHART / "examples" / f"{example}.yaml"))
    assert done.returncode == 0, done.stdout


def test_the_examples_render_every_template(helm: str) -> None:
    templates = {path.name for path in (CHART / "templates").glob("*.yaml")}
    rendered: set[str] = set()
    for example in EXAMPLES:
        values = str(CHART / "examples" / f"{example}.yaml")
        done = run(helm, "template", "rel", str(CHART), "--values", values)
        rendered |= set(re.findall(r"^# Source: .*/templates/(\S+)$", done.stdout, re.MULTILINE))
    assert rendered == templates
    assert len(EXAMPLES) == 4


@pytest.mark.parametrize("example", EXAMPLES)
def test_kubernetes_takes_it(helm: str, example: str) -> None:
    """Operators' own kinds are checked by their models, where those are installed."""
    validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    objects = render(helm, example)
    for each in objects:
        if each["apiVersion"] not in ("keda.sh/v1alpha1", "monitoring.coreos.com/v1"):
            validate.validate(each, "1.37", strict=True)
    with pytest.raises(validate.ValidationError):
        validate.validate({**objects[0], "extra": 1}, "1.37", strict=True)


def test_keda_takes_it(helm: str) -> None:
    models = pytest.importorskip("cloudcoil.models.keda.v1alpha1", reason="cloudcoil-models-keda is not installed")
    scaled = one(render(helm, "keda"), "ScaledObject")
    model = models.ScaledObject.model_validate(scaled)
    assert (model.spec.min_replica_count, model.spec.max_replica_count) == (2, 20)
    deployment = one(render(helm, "keda"), "Deployment")
    assert scaled["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert "replicas" not in deployment["spec"]  # an upgrade would set them back


PODS = [*((example, "service") for example in EXAMPLES), ("jobs", "jobs")]


@pytest.mark.parametrize(("example", "pod"), PODS)
def test_the_service_takes_its_settings(helm: str, example: str, pod: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (container,) = pod_of(render(helm, example), pod)["containers"]
    variables = {each["name"]: each.get("value", "redis://from-a-secret:6379/0") for each in container["env"]}
    assert len(variables) == len(container["env"])
    assert not list(unknown_variables(variables))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings = Settings(_env_file=None)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports.pop("metrics") == settings.metrics_port
    assert ports == ({"http": 8000} if pod == "service" else {})
    assert (settings.jobs_url is not None) is (example == "jobs")
    assert settings.keys is not None or settings.allow_anyone
    mounted = [mount["mountPath"] for mount in container["volumeMounts"]]
    for path in (settings.keys, settings.audit):
        assert path is None or str(path.parent) in mounted
    if "CIN_BUNDLE" in variables:
        assert str(settings.bundle.parent) in mounted


@pytest.mark.parametrize(("example", "name"), PODS)
def test_pods_are_hardened_and_end_in_order(helm: str, example: str, name: str) -> None:
    pod = pod_of(render(helm, example), name)
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"cpu", "memory"} <= set(container["resources"]["limits"])
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    if name == "jobs":
        assert pod["terminationGracePeriodSeconds"] > Settings().deadline_seconds
        return
    shutdown = next(int(each["value"]) for each in container["env"] if each["name"] == "CIN_SHUTDOWN_SECONDS")
    waits = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert waits > 0
    assert pod["terminationGracePeriodSeconds"] > waits + shutdown


def test_a_gpu_is_asked_for_and_required(helm: str) -> None:
    (container,) = pod_of(render(helm, "gpu"))["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert {"name": "CIN_REQUIRE_GPU", "value": "true"} in container["env"]
    (container,) = pod_of(render(helm, "cpu"))["containers"]
    assert "nvidia.com/gpu" not in container["resources"]["limits"]


def test_services_and_policies_select_the_pods(helm: str) -> None:
    objects = render(helm, "cpu")
    labels = one(objects, "Deployment")["spec"]["template"]["metadata"]["labels"].items()
    services = [each for each in objects if each["kind"] == "Service"]
    selectors = [each["spec"]["selector"] for each in services]
    selectors.append(one(objects, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"])
    selectors.append(one(objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"])
    assert all(selector and selector.items() <= labels for selector in selectors)
    watched, _ = scraped(objects)
    assert [port["name"] for port in watched["spec"]["ports"]] == ["metrics"]
    (backend,) = one(objects, "Ingress")["spec"]["rules"][0]["http"]["paths"]
    (web,) = (each for each in services if each != watched)
    assert backend["backend"]["service"]["name"] == web["metadata"]["name"]


def test_workers_on_jobs_get_no_requests(helm: str) -> None:
    objects = render(helm, "jobs")
    (worker,) = (each for each in objects if each["kind"] == "Deployment" and each["spec"]["replicas"] == 2)
    labels = worker["spec"]["template"]["metadata"]["labels"].items()
    assert worker["spec"]["template"]["spec"]["containers"][0]["args"] == ["jobs", "work"]
    assert worker["spec"]["selector"]["matchLabels"].items() <= labels
    others = [each["spec"]["selector"] for each in objects if each["kind"] == "Service"]
    others += [each["spec"]["selector"]["matchLabels"] for each in objects if each["kind"] == "Deployment"]
    assert sum(each.items() <= labels for each in others) == 1, "only its own"
    policies = [each["spec"]["podSelector"]["matchLabels"] for each in objects if each["kind"] == "NetworkPolicy"]
    assert sum(each.items() <= labels for each in policies) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "keys.existingSecret"),
        (("allowAnyone=true", "replicaCount=2"), "records.url"),
        (("allowAnyone=true", "keda.enabled=true"), "records.url"),
        (("allowAnyone=true", "jobs.enabled=true"), "jobs.url"),
        (("allowAnyone=true", "jobs.enabled=true", "jobs.url=redis://jobs"), "records.url"),
        (("allowAnyone=true", "bundle.existingClaim=x"), "bundle.name"),
        (("allowAnyone=true", "ingress.enabled=true"), "ingress.hosts"),
    ],
)
def test_what_could_not_work_is_refused(helm: str, options: tuple[str, ...], words: str) -> None:
    done = run(helm, "template", "rel", str(CHART), *(f"--set={option}" for option in options))
    assert done.returncode == 1
    assert words in done.stderr
