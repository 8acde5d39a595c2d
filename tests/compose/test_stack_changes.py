"""The stack when replicas are killed, replaced or set otherwise.

One test after the other, on what those before left; the last one breaks it.
"""

from __future__ import annotations

import json
import re
import shutil
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

from tests.compose.stack import Stack, address, damage, in_container, inspect, predict, run, wait_for
from tests.paths import REPOSITORY


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
    answers: list[httpx.Response] = []
    # A busy machine is slower than the limit for a while, the more so one after the other.
    with ThreadPoolExecutor(16) as clients:
        while all(answer.status_code != 429 for answer in answers) and len(answers) < 4000:
            answers += clients.map(lambda _: client.get("/healthz"), range(400))
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
