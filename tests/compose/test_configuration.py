"""What docker-compose.yml says, of every service, also of those that no test starts."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.bundle import load_bundle
from service.settings import SHIPPED_BUNDLE, Settings, unknown_variables
from tests.compose.stack import Stack
from tests.conftest import REPOSITORY

Config = dict[str, Any]


@pytest.fixture(scope="module")
def configured(compose: list[str], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Config]:
    """What compose makes of the file; a warning is a failure."""
    stack = Stack(compose, "image", tmp_path_factory.mktemp("config"))
    password = tmp_path_factory.mktemp("secrets") / "password"
    password.write_text("secret")

    def configured(**settings: str) -> Config:
        environment = {**stack.environment, "GRAFANA_PASSWORD_FILE": str(password), **settings}
        command = [*stack.command, "config"]
        done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        config: Config = yaml.safe_load(done.stdout)
        return config

    return configured


@pytest.mark.parametrize("profiles", ["", "dashboards", "gpu", "dashboards,gpu"])
def test_it_is_clean_with_every_profile(configured: Callable[..., Config], profiles: str) -> None:
    assert {"service", "proxy", "redis", "prometheus"} <= configured(COMPOSE_PROFILES=profiles)["services"].keys()


@pytest.fixture(scope="module")
def services(configured: Callable[..., Config]) -> Config:
    found: Config = configured(COMPOSE_PROFILES="dashboards,gpu")["services"]
    assert found.keys() == {"service", "service-gpu", "proxy", "redis", "prometheus", "grafana"}
    return found


def test_every_service_is_hardened(services: Config) -> None:
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert int(service["pids_limit"]) > 0, name
        assert service["mem_limit"], name
        assert float(service["cpus"]) > 0, name
        assert all("size=" in mount and "nosuid" in mount for mount in service["tmpfs"]), name
        assert service["logging"]["options"]["max-size"], name
        # The service's own images name their user.
        assert name.startswith("service") or service["user"].partition(":")[0] not in ("", "0", "root"), name
        for volume in service.get("volumes", []):
            read_only = volume.get("read_only", False) if isinstance(volume, dict) else volume.endswith(":ro")
            assert read_only or (name == "prometheus" and "/prometheus" in str(volume)), (name, volume)


def test_only_the_proxy_is_published_and_on_the_inside_of_no_other_network(services: Config) -> None:
    assert [name for name, service in services.items() if service.get("ports")] == ["proxy"]
    assert [name for name, service in services.items() if "outside" in service["networks"]] == ["proxy"]
    assert {name for name, service in services.items() if "records" in service["networks"]} == {
        "service",
        "service-gpu",
        "redis",
    }


def test_it_is_on_this_machine_alone_unless_told_otherwise() -> None:
    plain = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8"))
    assert plain["services"]["proxy"]["ports"] == ["${PUBLISH:-127.0.0.1:8000}:8080"]


def test_the_gpu_is_reserved_and_required(services: Config) -> None:
    gpu = services["service-gpu"]
    (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"], int(device["count"])) == ("nvidia", ["gpu"], 1)
    assert gpu["environment"]["CIN_REQUIRE_GPU"] == "true"
    assert gpu["build"]["target"] == "gpu"
    # The same as on a CPU but for that.
    differing = {"deploy", "environment", "image", "build", "networks", "profiles"}
    same = {key: value for key, value in gpu.items() if key not in differing}
    assert same == {key: value for key, value in services["service"].items() if key not in differing}


def test_the_example_names_every_variable_with_its_default() -> None:
    text = (REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8")
    used = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", text))
    passed_on = re.findall(r"^  (CIN_\w+):$", text, flags=re.MULTILINE)
    example = (REPOSITORY / ".env.example").read_text(encoding="utf-8")
    given = dict(re.findall(r"^(?:# )?([A-Z_]+)=(\S+)$", example, flags=re.MULTILINE))
    assert given.pop("COMPOSE_PROFILES") == "dashboards"
    assert {name: given.get(name) for name in used} == used
    assert given.keys() == used.keys() | set(passed_on)
    for name in passed_on:
        default = getattr(Settings(), name.removeprefix("CIN_").lower())
        if name == "CIN_BUNDLE":
            assert given[name] == f"/bundles/{default.name}"
        elif name == "CIN_OPERATING_POINT":
            assert given[name] == load_bundle(SHIPPED_BUNDLE).manifest.default_operating_point
        else:
            assert float(given[name]) == default if isinstance(default, int | float) else given[name] == default


def test_the_compose_file_contradicts_no_limit_of_the_service(services: Config) -> None:
    settings = Settings()
    environment = services["service"]["environment"]
    nginx = (REPOSITORY / "docker" / "proxy" / "nginx.conf").read_text(encoding="utf-8")
    (read_timeout,) = re.findall(r"proxy_read_timeout (\d+)s;", nginx)
    one, several = (int(size) * 2**20 for size in re.findall(r"client_max_body_size (\d+)m;", nginx))
    assert int(read_timeout) > settings.deadline_seconds
    assert several > one > settings.max_upload_bytes
    grace = int(services["service"]["stop_grace_period"].removesuffix("s"))
    assert grace > int(environment["CIN_SHUTDOWN_SECONDS"])
    assert unknown_variables(environment) == []


def test_no_password_is_written_down(services: Config) -> None:
    grafana = services["grafana"]["environment"]
    assert grafana["GF_SECURITY_ADMIN_PASSWORD__FILE"] == "/run/secrets/grafana-password"
    assert not {name for name in grafana if name.endswith(("PASSWORD", "TOKEN", "SECRET_KEY"))}


def make(*arguments: str, folder: Path) -> str:
    command = ["make", "-f", str(REPOSITORY / "Makefile"), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def test_make_makes_a_password_once_that_others_on_this_machine_cannot_read(tmp_path: Path) -> None:
    password = tmp_path / "docker" / "secrets" / "grafana-password"
    (tmp_path / ".env.example").write_text("A=1\n")
    make("docker/secrets/grafana-password", ".env", folder=tmp_path)
    first = password.read_text()
    assert len(first) == 48
    assert int(first, 16) > 0
    assert password.parent.stat().st_mode & 0o077 == 0
    assert (tmp_path / ".env").read_text() == "A=1\n"
    (tmp_path / ".env").write_text("A=2\n")
    make("docker/secrets/grafana-password", ".env", folder=tmp_path)
    assert password.read_text() == first
    assert (tmp_path / ".env").read_text() == "A=2\n"
    password.unlink()
    make("docker/secrets/grafana-password", folder=tmp_path)
    assert password.read_text() != first
