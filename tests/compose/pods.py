"""The chart's pods on Docker: what a kubelet does with them, and what they are given from the cluster."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

from tests.compose.stack import inspect, run, wait_for
from tests.helm.chart import NAMESPACE, Object, scraped
from tests.helm.pod_spec import Pod, Probe, Secrets, Volume

# As a kubelet fills the volume of a Secret, and hands one of a claim over to the pod's group.
_FILL = """
import json, os, sys
files, mode, group = json.load(sys.stdin)
for name, text in files.items():
    with open(f"/volume/{name}", "w") as file:
        file.write(text)
    os.chown(f"/volume/{name}", 0, group)
    os.chmod(f"/volume/{name}", mode)
os.chown("/volume", 0, group)
os.chmod("/volume", 0o2775)
"""


class Node:
    """A network and volumes of Docker in the place of a cluster with one node; a context manager."""

    def __init__(self, name: str, image: str, secrets: Secrets) -> None:
        self.name, self.image, self.secrets = name, image, secrets
        self.pods: list[RunningPod] = []
        self._containers: list[str] = []
        self._volumes: dict[str, str] = {}

    def __enter__(self) -> Node:
        run("docker", "network", "create", self.name)
        return self

    def __exit__(self, *_: object) -> None:
        for pod in self.pods:
            pod.over.set()
        if self._containers:
            run("docker", "rm", "--force", "--volumes", *self._containers)
        for volume in self._volumes.values():
            run("docker", "volume", "rm", volume)
        run("docker", "network", "rm", self.name)

    def start(self, name: str, *options: str) -> str:
        """The id of a container that the others find by its name."""
        named = ("--network", self.name, "--network-alias", name, "--hostname", name)
        id = run("docker", "run", "--detach", *named, *options).stdout.strip()
        self._containers.append(id)
        return id

    def run_pod(self, name: str, pod: Pod) -> RunningPod:
        """Start a pod, and what its kubelet does; its ports are published as by ``kubectl port-forward``."""
        volumes = {volume.name: self._volume(volume, pod) for volume in pod.volumes if volume.emptyDir is None}
        published = [f"--publish=127.0.0.1::{port.containerPort}" for port in pod.container.ports]
        id = self.start(name, *published, *pod.docker_arguments(self.secrets, volumes))
        self.pods.append(RunningPod(name, id, pod))
        return self.pods[-1]

    def _volume(self, volume: Volume, pod: Pod) -> str:
        """Docker's name of a Secret's or claim's volume, which all pods share."""
        source: Any = volume.secret or volume.persistentVolumeClaim
        name = f"{self.name}-{volume.name}"
        if name not in self._volumes:
            files = {} if volume.secret is None else self.secrets[volume.secret.secretName]
            run("docker", "volume", "create", name)
            self._volumes[name] = name
            filled = ("--interactive", "--user=0", f"--mount=type=volume,source={name},target=/volume")
            given = json.dumps([files, getattr(source, "defaultMode", 0), pod.securityContext.fsGroup])
            command = ("docker", "run", "--rm", *filled, "--entrypoint=python", self.image, "-c", _FILL)
            run(*command, input=given)
        return name


class RunningPod:
    """A pod, and its kubelet: probes at their periods, and the end of a pod in its order."""

    def __init__(self, name: str, id: str, pod: Pod) -> None:
        self.name, self.id, self.pod = name, id, pod
        self.ready = False
        self.killed_by: str | None = None
        self.over = threading.Event()
        ports = inspect(id)["NetworkSettings"]["Ports"]
        self.ports = {port.name: int(ports[f"{port.containerPort}/tcp"][0]["HostPort"]) for port in pod.container.ports}
        self.url = f"http://127.0.0.1:{self.ports['http']}"
        threading.Thread(target=self._start_up, daemon=True).start()

    def _start_up(self) -> None:
        """Neither liveness nor readiness before the startup probe passes."""
        container, started = self.pod.container, threading.Event()
        self._watch(container.startupProbe, started.set, lambda: self._kill("startupProbe"), until=started)
        if started.is_set():
            for arguments in (
                (container.livenessProbe, lambda: None, lambda: self._kill("livenessProbe")),
                (container.readinessProbe, lambda: self._turn(ready=True), lambda: self._turn(ready=False)),
            ):
                threading.Thread(target=self._watch, args=arguments, daemon=True).start()

    def _watch(
        self,
        probe: Probe,
        passed: Callable[[], object],
        failed: Callable[[], object],
        until: threading.Event | None = None,
    ) -> None:
        num_failures = 0
        while not self.over.is_set() and not (until and until.is_set()):
            num_failures = 0 if self.passes(probe) else num_failures + 1
            if num_failures == 0:
                passed()
            elif num_failures >= probe.failureThreshold:
                failed()
            self.over.wait(probe.periodSeconds)

    def passes(self, probe: Probe) -> bool:
        """Ask once; Kubernetes takes every status from 200 to 399."""
        url = f"http://127.0.0.1:{self.ports[probe.httpGet.port]}{probe.httpGet.path}"
        try:
            return 200 <= httpx.get(url, timeout=probe.timeoutSeconds).status_code < 400
        except httpx.TransportError:
            return False

    def _turn(self, *, ready: bool) -> None:
        self.ready = ready and not self.over.is_set()

    def _kill(self, why: str) -> None:
        if not self.over.is_set():
            self.killed_by = why
            self.kill()

    def kill(self) -> None:
        """As when its node is lost."""
        self.over.set()
        self.ready = False
        run("docker", "kill", self.id)

    def end(self, while_it_sleeps: Callable[[], None]) -> threading.Thread:
        """As when it is deleted: preStop, SIGTERM, and SIGKILL at the end of the grace period.

        Returns after SIGTERM, with a thread that ends with the container.
        """
        self.over.set()
        self.ready = False
        began, waits = time.monotonic(), self.pod.container.lifecycle.preStop.sleep.seconds
        while_it_sleeps()
        time.sleep(max(0, waits - (time.monotonic() - began)))
        left = self.pod.terminationGracePeriodSeconds - (time.monotonic() - began)
        stop = threading.Thread(target=run, args=("docker", "stop", f"--time={int(left)}", self.id))
        stop.start()
        wait_for(lambda: not self.passes(self.pod.container.readinessProbe), "a pod that ends is not ready")
        return stop


def scrape_config(objects: list[Object], pods: list[RunningPod]) -> Mapping[str, Any]:
    """What the Prometheus operator makes of the chart's ServiceMonitor."""
    service, endpoint = scraped(objects)
    assert endpoint.keys() <= {"port", "interval"}, "what else it says has to be translated"
    (target,) = (port["targetPort"] for port in service["spec"]["ports"] if port["name"] == endpoint["port"])
    common = {"namespace": NAMESPACE, "service": service["metadata"]["name"], "endpoint": endpoint["port"]}
    targets = [
        {"targets": [f"{pod.name}:{pod.pod.port(target)}"], "labels": {**common, "pod": pod.name}} for pod in pods
    ]
    job = {"job_name": common["service"], "scrape_interval": endpoint["interval"], "static_configs": targets}
    return {"scrape_configs": [job]}


def start_prometheus(node: Node, config: Mapping[str, Any], folder: Path) -> str:
    """The URL of a Prometheus with this configuration."""
    folder.chmod(0o755)
    (folder / "prometheus.yml").write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
    mounted = f"--volume={folder / 'prometheus.yml'}:/etc/prometheus/prometheus.yml:ro"
    id = node.start("prometheus", mounted, "--publish=127.0.0.1::9090", "prom/prometheus:latest")
    return f"http://127.0.0.1:{inspect(id)['NetworkSettings']['Ports']['9090/tcp'][0]['HostPort']}"
