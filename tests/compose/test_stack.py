"""The stack as `docker compose up` brings it: one test after the other on the same three replicas.

The last ones take it apart.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest
import yaml
from PIL import Image

from tests.compose.stack import Stack, address, damage, in_container, inspect, run, wait_for
from tests.compose.test_monitoring import RULES
from tests.conftest import REPOSITORY

# Whether nothing in them can reach out.
NETWORKS = {"outside": False, "inside": True, "records": True}
SERVICES = ("service", "proxy", "redis", "prometheus")


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url, timeout=30) as client:
        yield client


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


def predict(client: httpx.Client, picture: bytes) -> httpx.Response:
    return client.post("/predict", files={"image": ("lesion.jpg", picture)})


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


class Load:
    """Clients that send one picture after the other."""

    def __init__(self, stack: Stack, picture: bytes, *, clients: int) -> None:
        self.answers: list[httpx.Response] = []
        self.errors: list[Exception] = []
        self._stack, self._picture, self._enough = stack, picture, threading.Event()
        self._threads = [threading.Thread(target=self._send) for _ in range(clients)]

    def _send(self) -> None:
        with httpx.Client(base_url=self._stack.url, timeout=30) as client:
            while not self._enough.is_set():
                try:
                    self.answers.append(predict(client, self._picture))
                except httpx.HTTPError as error:
                    self.errors.append(error)

    @contextmanager
    def running(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            wait_for(lambda: len(self.answers) > len(self._threads), "first answers")
            yield
            more = len(self.answers) + 3 * len(self._threads)
            wait_for(lambda: len(self.answers) > more, "answers afterwards")
        finally:
            self._enough.set()
            for thread in self._threads:
                thread.join()


def test_killing_a_replica_under_load_costs_at_most_what_was_in_flight_there(
    stack: Stack, client: httpx.Client, picture: bytes, note: Callable[[str], None]
) -> None:
    load = Load(stack, picture, clients=4)
    with load.running():
        killed = stack.containers()[0]
        run("docker", "kill", killed)
    run("docker", "rm", killed)
    statuses = Counter(answer.status_code for answer in load.answers)
    assert load.errors == []
    # At most every client had its picture there.
    assert statuses.total() - statuses[200] <= 4
    assert statuses[200] > 4
    for answer in load.answers:
        if answer.status_code == 200:
            assert client.get(f"/predictions/{answer.json()['id']}").status_code == 200
    note(f"a replica killed under load: {dict(statuses)}")


_HALF_A_REQUEST = """
import socket, sys, time
picture = open("/opt/cin/lib/python3.11/site-packages/service/bundles/cin-isic2017/canary.jpg", "rb").read()
one = socket.create_connection(({host!r}, 8000), timeout=25)
lines = ("POST /predict HTTP/1.1", "Host: x", "Content-Type: image/jpeg", f"Content-Length: {{len(picture)}}", "", "")
one.sendall("\\r\\n".join(lines).encode() + picture[:100])
time.sleep(0.5)
print("half", flush=True)
while True:  # until nothing new is taken
    try:
        socket.create_connection(({host!r}, 8000), timeout=5).close()
        time.sleep(0.02)
    except ConnectionRefusedError:
        break
one.sendall(picture[100:])
print(one.recv(12).decode(), flush=True)
"""


def test_sigterm_finishes_what_is_in_flight_and_exits_0_in_time(stack: Stack) -> None:
    ends, helps = stack.containers()[:2]
    script = _HALF_A_REQUEST.format(host=address(ends))
    command = ["docker", "exec", helps, "python", "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as request:
        assert request.stdout is not None
        assert request.stdout.readline() == "half\n"
        began = time.monotonic()
        run("docker", "stop", "--time", "30", ends)
        seconds = time.monotonic() - began
        told, errors = request.communicate(timeout=30)
    assert told == "HTTP/1.1 200\n", errors
    assert inspect(ends)["State"]["ExitCode"] == 0
    grace = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8"))["x-service"]
    assert seconds < int(grace["stop_grace_period"].removesuffix("s"))
    run("docker", "rm", ends)


def test_an_upgrade_turns_no_request_away(stack: Stack, picture: bytes, note: Callable[[str], None]) -> None:
    before = stack.containers()
    stack.up(replicas=1)
    assert len(stack.containers()) == 1
    load = Load(stack, picture, clients=2)
    environment = {**stack.environment, "CIN_OPERATING_POINT": "high-sensitivity"}
    with load.running():
        run(str(REPOSITORY / "docker" / "upgrade.sh"), cwd=REPOSITORY, env=environment)
    statuses = Counter(answer.status_code for answer in load.answers)
    assert (load.errors, set(statuses)) == ([], {200})
    points = [answer.json()["decision"]["operating_point"] for answer in load.answers]
    assert points[0] == "balanced"
    assert points[-1] == "high-sensitivity"
    (after,) = stack.containers()
    assert after not in before
    note(f"an upgrade under load: {dict(statuses)}")


def test_an_upgrade_that_does_not_get_ready_leaves_what_there_was(stack: Stack, client: httpx.Client) -> None:
    stack.up(replicas=2)
    before = stack.containers()
    assert len(before) == 2
    damage(shutil.copytree(stack.bundle, stack.bundle.parent / "damaged"))
    environment = {**stack.environment, "SERVED_BUNDLE": "/bundles/damaged"}
    done = run(str(REPOSITORY / "docker" / "upgrade.sh"), cwd=REPOSITORY, env=environment, check=False)
    assert done.returncode == 1
    assert "is not the file the manifest describes" in done.stderr
    assert stack.containers() == before
    assert client.get("/readyz").status_code == 200
    stack.compose("up", "--detach", "--no-recreate")
    assert stack.containers() == before, "as many as there were"


def test_tls_when_a_certificate_is_mounted(
    stack: Stack, picture: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("tls")
    folder.chmod(0o755)
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(folder / "tls.key"), "-out", str(folder / "tls.crt")]
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject, *files)
    (folder / "tls.key").chmod(0o644)
    stack.settings["TLS_FOLDER"] = str(folder)
    stack.compose("up", "--detach", "--no-deps", "proxy")
    form = f"image=@{folder / 'lesion.jpg'}"
    (folder / "lesion.jpg").write_bytes(picture)
    secure = f"https://127.0.0.1:{stack.port}"
    trusting = ["curl", "--silent", "--cacert", str(folder / "tls.crt")]
    wait_for(lambda: run(*trusting, f"{secure}/readyz", check=False).returncode == 0, "TLS")
    assert json.loads(run(*trusting, "--form", form, f"{secure}/predict").stdout)["diagnosis"]
    plain = httpx.get(f"{stack.url}/readyz")
    assert (plain.status_code, plain.headers["location"]) == (301, f"{secure}/readyz")
    old = run(*trusting, "--tlsv1.1", "--tls-max", "1.1", f"{secure}/readyz", check=False)
    assert old.returncode != 0
    del stack.settings["TLS_FOLDER"]
    stack.compose("up", "--detach", "--no-deps", "proxy")
    wait_for(stack.is_ready, "plain HTTP again")


def test_every_replica_writes_to_one_audit_log(stack: Stack, client: httpx.Client, picture: bytes) -> None:
    ids = [predict(client, picture).json()["id"] for _ in range(6)]
    (replica, *_) = stack.containers()
    verified = in_container(replica, "cin", "audit", "verify", "/audit/audit.jsonl").stdout
    assert re.match(r"\d+ entries, from 1 to \d+, head ", verified)
    log = in_container(replica, "cat", "/audit/audit.jsonl").stdout
    noted = [json.loads(line).get("id") for line in log.splitlines()]
    assert [noted.count(id) for id in ids] == [1] * 6
    assert sorted(in_container(replica, "ls", "/audit").stdout.split()) == ["audit.jsonl", "audit.jsonl.lock"]


def test_keys_are_asked_for_when_that_is_said(stack: Stack, client: httpx.Client, picture: bytes) -> None:
    made = [stack.compose("run", "--rm", "keys", "create", name).strip() for name in ("one", "two")]
    one, two = ({"Authorization": f"Bearer {key}"} for key in made)
    stack.settings["KEYS_FILE"] = "/keys/keys.json"
    stack.compose("up", "--detach", "--no-deps", "service")
    wait_for(lambda: stack.all_healthy() and stack.is_ready(), "replicas that ask for keys")
    wait_for(lambda: client.get("/model").status_code == 401, "keys are asked for")
    answer = client.post("/predict", files={"image": ("lesion.jpg", picture)}, headers=one)
    assert answer.status_code == 200
    overlay = answer.json()["attention"]["lesion"]
    statuses = [client.get(overlay, headers=headers).status_code for headers in (one, two, {})]
    assert statuses == [200, 404, 401]
    up = 'up{job="service"}'
    wait_for(lambda: {s["value"][1] for s in stack.query(up)} == {"1"}, "Prometheus still sees the replicas")
    del stack.settings["KEYS_FILE"]
    stack.compose("up", "--detach", "--no-deps", "service")
    wait_for(lambda: stack.all_healthy() and stack.is_ready(), "replicas that ask nobody")
    assert client.get("/model").status_code == 200


def test_more_than_a_client_may_send_is_refused(client: httpx.Client) -> None:
    with ThreadPoolExecutor(16) as clients:  # one after the other is slower than the limit on a busy machine
        answers = list(clients.map(lambda _: client.get("/healthz"), range(400)))
    statuses = Counter(answer.status_code for answer in answers)
    assert set(statuses) == {200, 429}
    assert statuses[200] >= 200
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.json()["type"] == "urn:cin:problem:rate-limited"
    assert int(refused.headers["retry-after"]) > 0
    assert refused.headers["content-security-policy"] == answers[0].headers["content-security-policy"]
    time.sleep(5)  # the allowance of the next tests


def test_a_restart_keeps_nothing_of_a_prediction(stack: Stack, client: httpx.Client, picture: bytes) -> None:
    id = predict(client, picture).json()["id"]
    assert client.get(f"/predictions/{id}").status_code == 200
    for service in ("service", "redis"):
        for container in stack.containers(service):
            mounts = inspect(container)["Mounts"]
            writable = [mount["Destination"] for mount in mounts if mount["RW"]]
            assert writable == (["/audit"] if service == "service" else []), "nowhere else to write to but memory"
            changed = {line.split(" ", 1)[1] for line in run("docker", "diff", container).stdout.splitlines()}
            assert changed <= {mount["Destination"] for mount in mounts}
    stack.compose("restart", "--timeout", "30", "redis", "service")
    wait_for(stack.all_healthy, "healthy again")
    wait_for(stack.is_ready, "an answer again")
    assert client.get(f"/predictions/{id}").status_code == 404
    assert client.get(f"/attention/{id}").status_code == 404
    assert predict(client, picture).status_code == 200


def test_a_failing_canary_alerts(stack: Stack, client: httpx.Client, picture: bytes) -> None:
    def state() -> set[str]:
        alerts = stack.inside("http://prometheus:9090/api/v1/alerts")["data"]["alerts"]
        return {a["state"] for a in alerts if a["labels"]["alertname"] == "CinCanaryFailed"}

    assert state() == set()
    damage(stack.bundle)
    wait_for(lambda: "firing" in state(), "CinCanaryFailed firing", 60)
    answer = predict(client, picture)
    assert answer.status_code in (502, 503)
    assert answer.json()["type"] == "urn:cin:problem:not-ready"
