"""The stack as `docker compose up` brings it: one test after the other on the same three replicas."""

from __future__ import annotations

import io
import json
import re
import socket
from collections.abc import Iterator

import httpx
import pytest
import yaml
from PIL import Image

from tests.compose.stack import RULES, Stack, address, in_container, inspect, predict, run, wait_for

# Whether nothing in them can reach out.
NETWORKS = {"outside": False, "inside": True, "records": True}
SERVICES = ("service", "proxy", "redis", "prometheus")


@pytest.fixture(scope="module")
def dawdlers(stack: Stack) -> Iterator[list[socket.socket]]:
    """Connections of clients that do not finish: one its headers, one its body."""
    upload = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: 9\r\n\r\n1"
    begun = ("GET /healthz HTTP/1.1\r\nHost: x\r\n", upload)
    connections = [socket.create_connection(("127.0.0.1", stack.port)) for _ in begun]
    for connection, text in zip(connections, begun, strict=True):
        connection.sendall(text.encode())
    yield connections
    for connection in connections:
        connection.close()


def get_in(id: str, path: str) -> int:
    """The status that one replica answers with."""
    script = (
        "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8000); "
        f"c.request('GET', {path!r}); print(c.getresponse().status)"
    )
    return int(in_container(id, "python", "-c", script).stdout)


@pytest.mark.usefixtures("dawdlers")
def test_a_real_picture_through_the_proxy(client: httpx.Client, picture: bytes) -> None:
    answer = predict(client, picture)
    assert answer.status_code == 200
    found = answer.json()
    assert sum(found["probabilities"].values()) == pytest.approx(1.0, abs=1e-5)
    assert found["model"]["provider"] == "cpu"
    size = Image.open(io.BytesIO(picture)).size
    assert (found["image"]["width"], found["image"]["height"]) == size
    for kind in ("lesion", "spatial", "correlation"):
        overlay = client.get(found["attention"][kind])
        assert overlay.headers["content-type"] == "image/png"
        assert Image.open(io.BytesIO(overlay.content)).format == "PNG"


def test_the_page_comes_through_the_proxy(client: httpx.Client) -> None:
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for file in set(re.findall(r'(?:href|src)="(/web/[^"]+)"', page.text)):
        assert client.get(file).status_code == 200, file


def test_three_replicas_share_records_and_work(stack: Stack, client: httpx.Client, picture: bytes) -> None:
    ids = [predict(client, picture).json()["id"] for _ in range(24)]
    replicas = stack.containers()
    assert len(replicas) == 3
    for replica in replicas:
        assert get_in(replica, f"/attention/{ids[0]}?map=spatial") == 200
        # Every replica had a part of the work.
        script = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8000/metrics').read().decode())"
        metrics = in_container(replica, "python", "-c", script).stdout
        made = re.search(r'cin_requests_total\{method="POST",route="/predict",status="200"\} ([\d.]+)', metrics)
        assert made is not None
        assert float(made[1]) >= 1
    assert client.delete(f"/predictions/{ids[0]}").status_code == 204
    assert [get_in(replica, f"/predictions/{ids[0]}") for replica in replicas] == [404, 404, 404]
    assert get_in(replicas[0], f"/predictions/{ids[1]}") == 200


@pytest.mark.parametrize(
    "path",
    [
        "/metrics",
        "//metrics",
        "/%6detrics",
        "/metrics?a=1",
        "/metrics/",
        "/x/../metrics",
        "/./metrics",
        "/metrics#x",
        "/grafana/metrics",
        "//grafana//metrics",
        "/grafana/%6detrics/",
        "/x/../grafana/metrics?a=1",
    ],
)
def test_metrics_stay_inside(stack: Stack, path: str) -> None:
    answer = run("curl", "--silent", "--path-as-is", "--write-out", "\n%{http_code}", stack.url + path).stdout
    body, _, status = answer.rpartition("\n")
    assert status == "404"
    assert json.loads(body)["type"] == "urn:cin:problem:not-found"


def test_only_the_proxy_is_published_and_only_here(stack: Stack) -> None:
    for service in SERVICES:
        for id in stack.containers(service):
            published = [p for ports in inspect(id)["NetworkSettings"]["Ports"].values() for p in ports or ()]
            here = {"HostIp": "127.0.0.1", "HostPort": str(stack.port)}
            assert published == ([here] if service == "proxy" else []), service


def test_nobody_inside_can_reach_out_and_only_the_service_reaches_redis(stack: Stack) -> None:
    networks = json.loads(run("docker", "network", "inspect", *(f"{stack.project}_{n}" for n in NETWORKS)).stdout)
    assert {network["Name"].rpartition("_")[2]: network["Internal"] for network in networks} == NETWORKS
    attached: dict[str, set[str]] = {service: set() for service in SERVICES}
    for service, names in attached.items():
        for id in stack.containers(service):
            names |= {name.rpartition("_")[2] for name in inspect(id)["NetworkSettings"]["Networks"]}
    assert [service for service, names in attached.items() if not all(NETWORKS[name] for name in names)] == ["proxy"]
    out = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=2)"
    asked = in_container(stack.containers()[0], "python", "-c", out, check=False)
    assert re.search("timed out|Network is unreachable", asked.stderr), "an answer, if only a refusal"
    (redis,) = (address(id, "records") for id in stack.containers("redis"))
    ask = f"import socket; print(socket.create_connection(({redis!r}, 6379), timeout=2) and 'reached')"
    assert in_container(stack.containers()[0], "python", "-c", ask).stdout == "reached\n"
    with pytest.raises(AssertionError, match=r"timed out|Network is unreachable"):
        stack.beside(ask)


@pytest.mark.parametrize("service", SERVICES)
def test_every_container_is_hardened(stack: Stack, service: str) -> None:
    for id in stack.containers(service):
        host = inspect(id)["HostConfig"]
        assert host["ReadonlyRootfs"]
        assert host["CapDrop"] == ["ALL"]
        assert "no-new-privileges:true" in host["SecurityOpt"]
        assert not host["Privileged"]
        assert host["PidsLimit"] > 0
        assert host["Memory"] > 0
        assert host["NanoCpus"] > 0
        assert all("size=" in options for options in host["Tmpfs"].values())
        status = in_container(id, "cat", "/proc/self/status").stdout
        assert re.search(r"^Uid:\t[1-9]\d*\t", status, re.MULTILINE), "not root"
        assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE)
        assert re.search(r"^NoNewPrivs:\t1$", status, re.MULTILINE)
        assert in_container(id, "touch", "/new", check=False).returncode != 0


def test_the_service_is_uid_10001_and_has_no_torch(stack: Stack) -> None:
    script = "import os, importlib.util as i; print(os.getuid(), os.getgid(), i.find_spec('torch'))"
    for id in stack.containers():
        assert in_container(id, "python", "-c", script).stdout == "10001 10001 None\n"
        written = in_container(id, "sh", "-c", "echo x > /opt/cin/x", check=False)
        assert "Read-only file system" in written.stderr


def test_too_large_an_upload_never_reaches_the_service(client: httpx.Client) -> None:
    answer = client.post("/predict", content=b"\xff" * (22 * 2**20), headers={"Content-Type": "image/jpeg"})
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:cin:problem:too-large"
    assert answer.json()["status"] == 413
    # The service's own words, which name its limit, are others.
    assert answer.json()["detail"] == "the upload is larger than this server takes; send less at once"


def test_nothing_but_pictures_may_be_large(client: httpx.Client) -> None:
    answer = client.post("/healthz", content=bytes(2**17))
    assert (answer.status_code, answer.json()["type"]) == (413, "urn:cin:problem:too-large")


def test_prometheus_sees_every_replica_and_all_rules(stack: Stack) -> None:
    def targets() -> list[str]:
        found = stack.inside("http://prometheus:9090/api/v1/targets")["data"]["activeTargets"]
        return [target["health"] for target in found if target["labels"]["job"] == "service"]

    wait_for(lambda: targets() == ["up"] * 3, "three targets that are up")
    predictions = stack.query("sum(cin_predictions_total)")
    assert float(predictions[0]["value"][1]) >= 13
    shares = stack.query("sum by (diagnosis) (max by (diagnosis, over, le) (cin_probability_reference))")
    assert [float(share["value"][1]) for share in shares] == pytest.approx([1.0] * 3)
    groups = stack.inside("http://prometheus:9090/api/v1/rules")["data"]["groups"]
    loaded = [rule["name"] for group in groups for rule in group["rules"]]
    written = [group for path in RULES for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]]
    assert sorted(loaded) == sorted(rule.get("alert") or rule["record"] for group in written for rule in group["rules"])
    assert {rule["health"] for group in groups for rule in group["rules"]} <= {"ok", "unknown"}


def test_who_does_not_finish_is_cut_off(dawdlers: list[socket.socket]) -> None:
    for connection in dawdlers:
        connection.settimeout(25)
        told = connection.recv(1000)
        assert told == b"" or told.startswith(b"HTTP/1.1 408"), told
        assert told == b"" or connection.recv(1000) == b""
