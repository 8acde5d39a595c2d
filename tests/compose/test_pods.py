"""The chart's pods, run as Helm renders them: two replicas, with their Redis and their Prometheus.

One test after the other on the same pods; the last two end them.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import httpx
import pytest

from service.access.keys import create_key
from tests.compose.pods import Node, RunningPod, scrape_config, start_prometheus
from tests.compose.stack import in_container, inspect, run, wait_for
from tests.helm.chart import Object, find_helm, one, pod_of, render
from tests.helm.pod_spec import Pod

PASSWORD = "of-redis"


class Pods(NamedTuple):
    """What is rendered, and what runs by it."""

    objects: list[Object]
    first: RunningPod
    second: RunningPod
    prometheus: str
    key: dict[str, str]

    def client(self, pod: RunningPod) -> httpx.Client:
        """A client with a key."""
        return httpx.Client(base_url=pod.url, headers=self.key, timeout=30)

    def load(self) -> tuple[float, float]:
        """What KEDA asks Prometheus for, and the threshold that it compares that with."""
        (trigger,) = one(self.objects, "ScaledObject")["spec"]["triggers"]
        asked = httpx.get(f"{self.prometheus}/api/v1/query", params={"query": trigger["metadata"]["query"]}).json()
        (series,) = asked["data"]["result"] or [{"value": (0, "nan")}]  # more than one series is refused by KEDA
        return float(series["value"][1]), float(trigger["metadata"]["threshold"])


@pytest.fixture(scope="module")
def pods(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pods]:
    """Both examples for CPUs, with the image that is tested, and with figures every second."""
    folder = tmp_path_factory.mktemp("pods")
    repository, _, tag = image.partition(":")
    changed = (f"--set=image.repository={repository},image.tag={tag}", "--set=serviceMonitor.interval=1s")
    objects = render(find_helm(folder), "cpu", "keda", options=changed)
    spec, name = Pod.model_validate(pod_of(objects)), one(objects, "Deployment")["metadata"]["name"]
    key = create_key(folder / "keys.json", "clinic", announce=lambda _: None)
    secrets = {
        "cin-keys": {"keys.json": (folder / "keys.json").read_text(encoding="utf-8")},
        "redis": {"url": f"redis://:{PASSWORD}@redis:6379/0"},
    }
    with Node(f"cin-pods-{os.getpid()}", image, secrets) as node:
        node.start("redis", "redis:7-bookworm", "redis-server", "--requirepass", PASSWORD, "--save", "")
        first, second = (node.run_pod(f"{name}-59d8f7c6b4-{suffix}", spec) for suffix in ("4k2xw", "r8hbn"))
        prometheus = start_prometheus(node, scrape_config(objects, node.pods), folder)
        wait_for(lambda: first.ready and second.ready, "two pods that are ready by their probes")
        yield Pods(objects, first, second, prometheus, {"Authorization": f"Bearer {key}"})


def test_both_answer_with_a_key_alone(pods: Pods, picture: bytes) -> None:
    for pod in (pods.first, pods.second):
        with pods.client(pod) as client:
            assert client.post("/predict", files={"image": picture}).status_code == 200
        assert httpx.post(f"{pod.url}/predict", files={"image": picture}).status_code == 401


_TRY = """
import json, os
def can(path, num_bytes=1):
    try:
        with open(path, "wb") as file:
            file.write(bytes(num_bytes))
        os.unlink(path)
        return True
    except OSError:
        return False
status = dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
group = "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"
print(json.dumps({
    "root": can("/var/tmp/new"), "code": can("/opt/cin/new"), "keys": can("/keys/new"),
    "much": can("/tmp/new", 65 * 2**20),
    "privileges": status["NoNewPrivs"] == "0", "capabilities": int(status["CapBnd"], 16) > 0,
    "memory": all(open(path).read().strip() != str(4 * 2**30) for path in group if os.path.exists(path)),
    "tmp": can("/tmp/new"), "audit": can("/audit/new"), "user": [os.getuid(), os.getgid(), os.getgroups()],
}))
"""


def test_a_pod_can_do_what_its_specification_allows_and_nothing_else(pods: Pods, image: str) -> None:
    allowed = json.loads(in_container(pods.first.id, "python", "-c", _TRY).stdout)
    assert allowed.pop("user") == [10001, 10001, [10001]]
    assert {name for name, can in allowed.items() if can} == {"tmp", "audit"}
    # By the image alone, all of it could be done: by root, except for what another user may not.
    bare = ("docker", "run", "--rm", "--network=none", "--user=0", "--entrypoint=python", image, "-c", _TRY)
    anyone = json.loads(run(*bare).stdout)
    assert anyone.pop("user")[0] == 0
    assert all(anyone.values()), anyone


def test_keda_sees_load_come_and_go(pods: Pods, picture: bytes) -> None:
    """The load of one caller, whose key may take half of each pod's slots."""
    wait_for(lambda: pods.load()[0] == 0, "figures at rest")
    enough, statuses = threading.Event(), set[int]()

    def send(pod: RunningPod) -> None:
        with pods.client(pod) as client:
            while not enough.is_set():
                statuses.add(client.post("/predict", files={"image": picture}).status_code)

    senders = 15  # of the 16 slots that the key may take; what it has just answered may still hold one
    with ThreadPoolExecutor(2 * senders) as clients:
        sent = [clients.submit(send, pod) for pod in (pods.first, pods.second) for _ in range(senders)]
        try:
            # The autoscaler behind KEDA lets a tenth more pass.
            wait_for(lambda: pods.load()[0] > 1.1 * pods.load()[1], "a load that replicas are added for")
        finally:
            enough.set()
    for each in sent:
        each.result()
    assert statuses == {200}
    wait_for(lambda: pods.load()[0] == 0, "no load any more")
    assert [pod.killed_by for pod in (pods.first, pods.second)] == [None, None], "probes pass under load"


def test_what_a_lost_pod_answered_is_drawn_by_the_other(pods: Pods, picture: bytes) -> None:
    with pods.client(pods.first) as client:
        answer = client.post("/predict", files={"image": picture}).json()
    pods.first.kill()
    with pods.client(pods.second) as client:
        for path in answer["attention"].values():
            assert client.get(path).headers["content-type"] == "image/png"
        after = client.post("/predict", files={"image": picture}).json()
    assert after["decision"] == answer["decision"]
    verified = in_container(pods.second.id, "cin", "audit", "verify", "/audit/audit.jsonl").stdout
    assert " entries, from 1 to " in verified
    log = in_container(pods.second.id, "cat", "/audit/audit.jsonl").stdout
    noted = [json.loads(line).get("id") for line in log.splitlines()]
    # The other pod has noted that it drew the maps.
    assert [noted.count(made["id"]) for made in (answer, after)] == [1 + len(answer["attention"]), 1]


def test_a_pod_that_ends_takes_requests_until_proxies_know_and_answers_what_is_in_flight(
    pods: Pods, picture: bytes
) -> None:
    pod = pods.second
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in pods.key.items())
    with socket.create_connection(("127.0.0.1", pod.ports["http"]), timeout=30) as begun:

        def while_it_sleeps() -> None:
            time.sleep(1)
            with pods.client(pod) as client:
                assert client.post("/predict", files={"image": picture}).status_code == 200
            begun.sendall(head.encode() + b"\r\n" + picture[:1000])

        began = time.monotonic()
        stopping = pod.end(while_it_sleeps)
        assert inspect(pod.id)["State"]["Running"]
        begun.sendall(picture[1000:])
        assert begun.recv(12) == b"HTTP/1.1 200"
    stopping.join()
    assert inspect(pod.id)["State"]["ExitCode"] == 0
    assert time.monotonic() - began < pod.pod.terminationGracePeriodSeconds
