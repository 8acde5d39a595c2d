"""What docker-compose.yml says, of every service, also of those that no test starts."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from service.access.keys import is_loopback, published_host
from service.bundle import load_bundle
from service.settings import SHIPPED_BUNDLE, Settings, unknown_variables
from tests.compose.stack import Stack
from tests.paths import REPOSITORY

Config = dict[str, Any]

# What each service may write to besides its memory.
WRITABLE = {
    "prometheus": ("/prometheus",),
    "service": ("/audit",),
    "service-gpu": ("/audit",),
    "keys": ("/keys", "/audit"),
    "jobs": ("/audit",),
    "jobs-redis": ("/data",),
    "pacs": ("/images",),
}


@pytest.fixture(scope="module")
def configured(compose: list[str], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Config]:
    """What compose makes of the file; a warning is a failure."""
    stack = Stack(compose, "image", tmp_path_factory.mktemp("config"))
    password = tmp_path_factory.mktemp("secrets") / "password"
    password.write_text("secret")

    def configured(**settings: str) -> Config:
        environment = {**stack.environment, "GRAFANA_PASSWORD_FILE": str(password), "PACS_PASSWORD_FILE": str(password)}
        environment |= settings
        command = [*stack.command, "config"]
        done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        config: Config = yaml.safe_load(done.stdout)
        return config

    return configured


def num_bytes(text: str) -> int:
    """1g, 21m or plain bytes, as Docker, nginx and compose write sizes."""
    units = {"k": 2**10, "m": 2**20, "g": 2**30}
    return int(text[:-1]) * units[text[-1]] if text[-1] in units else int(text)


@pytest.mark.parametrize("profiles", ["", "dashboards", "gpu", "dashboards,gpu", "pacs", "jobs"])
def test_it_is_clean_with_every_profile(configured: Callable[..., Config], profiles: str) -> None:
    assert {"service", "proxy", "redis", "prometheus"} <= configured(COMPOSE_PROFILES=profiles)["services"].keys()


@pytest.fixture(scope="module")
def services(configured: Callable[..., Config]) -> Config:
    found: Config = configured(COMPOSE_PROFILES="dashboards,gpu,jobs,keys,pacs")["services"]
    always = {"service", "proxy", "redis", "prometheus"}
    assert found.keys() == always | {"service-gpu", "grafana", "keys", "pacs", "watch", "jobs", "jobs-redis"}
    return found


def test_what_holds_uploads_dumps_no_core(services: Config) -> None:
    assert [services[name]["ulimits"] for name in ("service", "service-gpu")] == [{"core": 0}] * 2


def test_every_service_is_hardened(services: Config) -> None:
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["ulimits"]["core"] in (0, {"soft": 0, "hard": 0}), name
        assert int(service["pids_limit"]) > 0, name
        assert service["mem_limit"], name
        assert float(service["cpus"]) > 0, name
        assert all("size=" in mount and "nosuid" in mount for mount in service["tmpfs"]), name
        assert service["logging"]["options"]["max-size"], name
        # The service's own images name their user.
        assert name in ("service", "service-gpu", "keys", "watch", "jobs") or service["user"].partition(":")[0] not in (
            "",
            "0",
            "root",
        ), name
        for volume in service.get("volumes", []):
            read_only = volume.get("read_only", False) if isinstance(volume, dict) else volume.endswith(":ro")
            assert read_only or any(place in str(volume) for place in WRITABLE.get(name, ())), (name, volume)


def test_only_proxy_and_pacs_are_published_and_on_the_inside_of_no_other_network(services: Config) -> None:
    assert {name for name, service in services.items() if service.get("ports")} == {"proxy", "pacs"}
    assert set(services["pacs"]["networks"]) == {"clinic", "pacs"}
    assert set(services["watch"]["networks"]) == {"inside", "pacs"}
    assert [name for name, service in services.items() if "clinic" in service.get("networks", ())] == ["pacs"]
    assert [name for name, service in services.items() if "outside" in service.get("networks", ())] == ["proxy"]
    assert services["keys"]["network_mode"] == "none"
    assert {name for name, service in services.items() if "records" in service.get("networks", ())} == {
        "service",
        "service-gpu",
        "redis",
        "jobs",
        "jobs-redis",
    }
    assert set(services["jobs"]["networks"]) == {"inside", "records"}


def test_it_is_on_this_machine_alone_unless_told_otherwise() -> None:
    plain = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8"))
    ports = [port for name in ("proxy", "pacs") for port in plain["services"][name]["ports"]]
    assert ports[0] == "${PUBLISH:-127.0.0.1:8000}:8080"
    assert all(re.match(r"\$\{[A-Z_]+:-127\.0\.0\.1:", port) for port in ports)


def test_the_pacs_and_who_watches_it_agree(services: Config) -> None:
    pacs = json.loads(re.sub("^ *//.*", "", (REPOSITORY / "docker/pacs/orthanc.json").read_text(), flags=re.MULTILINE))
    watch = services["watch"]
    environment = watch["environment"]
    url = urlsplit(watch["command"][0])
    assert (url.hostname, url.port, f"{url.path}/") == ("pacs", pacs["HttpPort"], pacs["DicomWeb"]["Root"])
    assert pacs["AuthenticationEnabled"] is True
    assert pacs["RegisteredUsers"].keys() == {environment["CIN_DICOMWEB_USER"]}
    assert environment["CIN_DICOMWEB_PASSWORD_FILE"] == "/run/secrets/pacs-password"
    assert unknown_variables(environment) == []
    grace = re.fullmatch(r"(\d+)s", watch["stop_grace_period"])
    assert grace is not None
    assert int(grace[1]) > Settings().deadline_seconds


def test_the_gpu_is_reserved_and_required(services: Config) -> None:
    gpu = services["service-gpu"]
    (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"], int(device["count"])) == ("nvidia", ["gpu"], 1)
    assert gpu["environment"]["CIN_REQUIRE_GPU"] == "true"
    assert gpu["build"]["target"] == "gpu"
    assert (float(gpu["cpus"]), num_bytes(gpu["mem_limit"])) == (4, 4 * 2**30)
    # The same as on a CPU but for that.
    differing = {"deploy", "environment", "image", "build", "networks", "profiles", "scale", "cpus", "mem_limit"}
    same = {key: value for key, value in gpu.items() if key not in differing}
    assert same == {key: value for key, value in services["service"].items() if key not in differing}


def test_the_example_names_every_variable_with_its_default() -> None:
    text = (REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8")
    used = dict(re.findall(r"\$\{(\w+):?-([^}]*)\}", text))
    passed_on = re.findall(r"^  (CIN_\w+):$", text, flags=re.MULTILINE)
    example = (REPOSITORY / ".env.example").read_text(encoding="utf-8")
    given = dict(re.findall(r"^(?:# )?([A-Z_]+)=(\S+)$", example, flags=re.MULTILINE))
    assert given.pop("COMPOSE_PROFILES") == "dashboards"
    for name, path in (
        ("KEYS_FILE", "/keys/keys.json"),
        ("LEDGER_FILE", "/audit/ledger.sqlite"),
        ("JOBS_URL", "redis://jobs-redis:6379/0"),
        ("WEBHOOK_ORIGINS", "https://clinic.example.org"),
        ("WEBHOOK_KEY_FILE", "/keys/webhook.key"),
        ("DICOMWEB_SERVERS", "/keys/dicomweb.toml"),
    ):
        assert (used.pop(name), given.pop(name)) == ("", path)
    assert {name: given.get(name) for name in used} == used
    assert given.keys() == used.keys() | set(passed_on)
    for name in passed_on:
        default = getattr(Settings(), name.removeprefix("CIN_").lower())
        if name == "CIN_GPU_MEMORY_BYTES":
            assert default is None
        elif name == "CIN_MAX_BATCH":
            assert int(given[name]) == Settings().effective_max_batch("cuda")
        elif name == "CIN_CALLER_PLACES":
            assert int(given[name]) == Settings(keys=Path("keys.json")).max_in_flight_per_caller()
        elif name == "CIN_ALLOW_ANYONE":
            assert given[name] == str(default).lower()
        elif name == "CIN_CORS_ORIGINS":
            assert (default, Settings(cors_origins=given[name]).cors_origins) == ((), (given[name],))
        elif name == "CIN_OPERATING_POINT":
            assert given[name] == load_bundle(SHIPPED_BUNDLE).manifest.default_operating_point
        else:
            assert float(given[name]) == default if isinstance(default, int | float) else given[name] == default


def test_what_is_set_for_the_stack_sends_a_service_beside_it_nowhere(tmp_path: Path) -> None:
    example = (REPOSITORY / ".env.example").read_text(encoding="utf-8")
    (tmp_path / ".env").write_text(re.sub("^# ([A-Z_]+=)", r"\1", example, flags=re.MULTILINE))
    assert "\nSERVED_BUNDLE=" in (tmp_path / ".env").read_text()
    beside = Settings(_env_file=tmp_path / ".env")
    assert (beside.bundle, beside.max_batch) == (SHIPPED_BUNDLE, 16)


def test_the_bundle_to_serve_is_the_shipped_one_unless_told_otherwise(configured: Callable[..., Config]) -> None:
    def served(**settings: str) -> str:
        return str(configured(**settings)["services"]["service"]["environment"]["CIN_BUNDLE"])

    assert served(SERVED_BUNDLE="") == f"/bundles/{SHIPPED_BUNDLE.name}"
    assert served(SERVED_BUNDLE="/bundles/cin-2") == "/bundles/cin-2"


def test_who_publishes_it_elsewhere_must_have_keys_or_say_that_anyone_may(configured: Callable[..., Config]) -> None:
    def environment(**settings: str) -> Config:
        found: Config = configured(**settings)["services"]["service"]["environment"]
        return found

    here = environment()
    assert is_loopback(published_host(here["CIN_PUBLISHED"]))
    assert not here["CIN_KEYS"]
    there = environment(PUBLISH="8000", KEYS_FILE="/keys/keys.json")
    assert not is_loopback(published_host(there["CIN_PUBLISHED"]))
    assert there["CIN_KEYS"] == "/keys/keys.json"
    assert here["CIN_AUDIT"] == "/audit/audit.jsonl"
    assert not environment(AUDIT_FILE="")["CIN_AUDIT"]
    assert not here["CIN_LEDGER"]
    assert environment(LEDGER_FILE="/audit/ledger.sqlite")["CIN_LEDGER"] == "/audit/ledger.sqlite"


def test_prometheus_asks_where_no_key_is_needed_and_nobody_else_does(services: Config) -> None:
    scrapes = yaml.safe_load((REPOSITORY / "docker/prometheus/prometheus.yml").read_text())["scrape_configs"]
    (found,) = (scrape["dns_sd_configs"][0] for scrape in scrapes if scrape["job_name"] == "service")
    assert found["port"] == int(services["service"]["environment"]["CIN_METRICS_PORT"])
    nginx = (REPOSITORY / "docker" / "proxy" / "nginx.conf").read_text(encoding="utf-8")
    assert str(found["port"]) not in nginx


def test_no_upload_waits_in_the_proxy_and_its_memory_holds_every_buffer(services: Config) -> None:
    nginx = re.sub("#.*", "", (REPOSITORY / "docker" / "proxy" / "nginx.conf").read_text(encoding="utf-8"))
    locations = dict(re.findall(r"location [~=] (\S*(?:predict|jobs)\S*) \{([^}]*)\}", nginx))
    for path in ("/predict", "/predict/batch", "/v1/predictions", "/v1/predictions/batch", "/v1/jobs"):
        assert sum(bool(re.search(location, path)) for location in locations) == 1, path
    assert all("proxy_request_buffering off;" in body for body in locations.values())
    # What any other request sends waits in nginx's own memory.
    elsewhere = nginx.partition("server {")[0]
    (largest,), (buffer,), (connections,) = (
        re.findall(rf"{name} (\w+);", elsewhere)
        for name in ("client_max_body_size", "client_body_buffer_size", "worker_connections")
    )
    assert num_bytes(largest) <= num_bytes(buffer)
    ((number, size),) = re.findall(r"large_client_header_buffers (\d+) (\w+);", elsewhere)
    room = int(connections) * (num_bytes(buffer) + int(number) * num_bytes(size))
    (mount,) = services["proxy"]["tmpfs"]
    (tmpfs,) = (num_bytes(size) for size in re.findall(r"size=(\w+)", mount))
    assert tmpfs + room < num_bytes(services["proxy"]["mem_limit"])


def test_the_compose_file_contradicts_no_limit_of_the_service(services: Config) -> None:
    settings = Settings()
    environment = services["service"]["environment"]
    nginx = (REPOSITORY / "docker" / "proxy" / "nginx.conf").read_text(encoding="utf-8")
    (read_timeout,) = re.findall(r"proxy_read_timeout (\d+)s;", nginx)
    one, several, job = (int(size) * 2**20 for size in re.findall(r"client_max_body_size (\d+)m;", nginx))
    assert int(read_timeout) > settings.deadline_seconds
    assert several > one > settings.max_upload_bytes
    assert job == settings.job_max_bytes
    grace = int(services["service"]["stop_grace_period"].removesuffix("s"))
    assert grace > int(environment["CIN_SHUTDOWN_SECONDS"])
    assert unknown_variables(environment) == []


def test_jobs_are_on_a_disk_and_within_the_memory_of_their_redis(services: Config) -> None:
    redis = services["jobs-redis"]
    said = dict(zip(redis["command"][1::2], redis["command"][2::2], strict=True))
    assert (said["--appendonly"], said["--appendfsync"], said["--maxmemory-policy"]) == ("yes", "always", "noeviction")
    (volume,) = redis["volumes"]
    assert (volume["source"], volume["target"]) == ("jobs", said["--dir"])
    maxmemory = num_bytes(said["--maxmemory"].removesuffix("b"))
    assert Settings().jobs_max_bytes < maxmemory
    assert num_bytes(str(redis["mem_limit"])) >= 2 * maxmemory
    worker = services["jobs"]
    assert worker["command"] == ["jobs", "work"]
    assert int(worker["stop_grace_period"].removesuffix("s")) > Settings().deadline_seconds
    assert worker["environment"] == services["service"]["environment"]


def test_no_password_is_written_down(services: Config) -> None:
    grafana = services["grafana"]["environment"]
    assert grafana["GF_SECURITY_ADMIN_PASSWORD__FILE"] == "/run/secrets/grafana-password"
    assert not {name for name in grafana if name.endswith(("PASSWORD", "TOKEN", "SECRET_KEY"))}
