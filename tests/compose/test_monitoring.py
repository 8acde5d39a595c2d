"""Rules and dashboards: valid, firing when they should, and about metrics that exist. No engine is needed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from service.app import create_app
from service.pacs.metrics import WatchMetrics
from service.settings import Settings
from tests.compose.stack import RULES
from tests.paths import REPOSITORY

PROMETHEUS = REPOSITORY / "docker" / "prometheus"
GRAFANA = REPOSITORY / "docker" / "grafana"
RULE_TESTS = sorted((Path(__file__).parent / "rules").glob("*.yml"))
DASHBOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))

# What Prometheus makes itself.
ITS_OWN = {"up": {"job", "instance"}, "ALERTS": {"alertname", "alertstate", "severity", "instance", "job"}}
# What Prometheus adds to what it scrapes.
SCRAPED = {"job", "instance"}


@pytest.fixture(scope="module")
def promtool() -> str:
    path = shutil.which("promtool")
    if path is None:
        pytest.skip("promtool is not installed")
    return path


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def rules() -> list[dict[str, Any]]:
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return [panel for path in DASHBOARDS for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]]


def expressions() -> list[tuple[str, str]]:
    """Every rule's and panel's name and PromQL, without comments and Grafana's variables."""
    told = [(rule.get("record") or rule["alert"], rule["expr"]) for rule in rules()]
    told += [(panel["title"], target["expr"]) for panel in panels() for target in panel["targets"]]
    return [(name, re.sub("#.*", "", expr).replace("$__rate_interval", "1m")) for name, expr in told]


def test_the_configuration_is_valid(promtool: str) -> None:
    told = run(promtool, "check", "config", PROMETHEUS / "prometheus.yml")
    assert f"{len(RULES)} rule files found" in told
    assert "FAILED" not in told


@pytest.mark.parametrize("path", RULE_TESTS, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should_and_only_then(promtool: str, path: Path) -> None:
    assert "SUCCESS" in run(promtool, "test", "rules", path)


def test_every_alert_is_shown_to_fire_and_not_to_fire() -> None:
    checks = [
        check
        for path in RULE_TESTS
        for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]
        for check in test["alert_rule_test"]
    ]
    names = {rule["alert"] for rule in rules() if "alert" in rule}
    assert {check["alertname"] for check in checks if check["exp_alerts"]} == names
    assert {check["alertname"] for check in checks if not check["exp_alerts"]} == names


def test_no_group_leaves_a_gap_that_a_pending_alert_falls_into() -> None:
    lookback, seconds = 300, {"s": 1, "m": 60}  # what is older is not seen
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]]
    for group in groups:
        interval = group.get("interval", "15s")
        assert 2 * int(interval[:-1]) * seconds[interval[-1]] <= lookback, group["name"]


def test_every_alert_has_a_section_in_the_handbook() -> None:
    handbook = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")
    alerts = [rule for rule in rules() if "alert" in rule]
    assert [rule["alert"] for rule in alerts if f"`{rule['alert']}`" not in handbook] == []
    assert {rule["labels"]["severity"] for rule in alerts} == {"page", "ticket"}
    named = set(re.findall(r"`(Cin\w+)`", handbook))
    assert named == {rule["alert"] for rule in alerts}


def test_panels_ask_what_prometheus_can_answer(promtool: str, tmp_path: Path) -> None:
    asked = [
        {"record": f"panel:{number}", "expr": target["expr"].replace("$__rate_interval", "1m")}
        for number, target in enumerate(target for panel in panels() for target in panel["targets"])
    ]
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": asked}]}), encoding="utf-8")
    assert f"{len(asked)} rules found" in run(promtool, "check", "rules", path)


@pytest.fixture(scope="module")
def exposed() -> dict[str, list[dict[str, str]]]:
    """Every series of a running service with the shipped bundle, and of a watch: metric -> labels of its series."""
    with TestClient(create_app(Settings(provider="cpu"))) as client:
        bundle = client.app.state.service.scheduler.bundle  # type: ignore[attr-defined]
        picture = bundle.path(bundle.manifest.canary.picture).read_bytes()
        answer = client.post("/predict", files={"image": picture}).json()
        client.get(answer["attention"]["lesion"])
        text = client.get("/metrics").text
    registry = CollectorRegistry()
    WatchMetrics(registry)
    text += generate_latest(registry).decode()
    series: dict[str, list[dict[str, str]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            series.setdefault(sample.name, []).append(sample.labels)
    return series


def metric_names(expression: str) -> set[str]:
    """Names of metrics in PromQL: what is neither a function, a keyword, a label, text nor a number."""
    bare = re.sub(r'"[^"]*"', "", expression)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", bare)
    bare = re.sub(r"\b(by|on|without|ignoring|group_left|group_right)\s*\([^)]*\)", "", bare)
    words = re.findall(r"(?<![\w.])[a-zA-Z_:][\w:]*(?![\w:]|\s*\()", bare)
    keywords = {"and", "or", "unless", "by", "on", "without", "ignoring", "group_left", "group_right", "sum", "max"}
    # An aggregation's name may stand before "by (...)", which is gone by now.
    return {word for word in words if word not in keywords | {"min", "count", "avg"}}


def test_metric_names_are_told_from_the_rest() -> None:
    expression = 'sum by (a) (rate(cin_x_total{b="c_d"}[5m])) / on (e) group_left cin:y:z > 1e3 unless up == 0.5'
    assert metric_names(expression) == {"cin_x_total", "cin:y:z", "up"}


@pytest.mark.parametrize("expression", [pytest.param(expr, id=name) for name, expr in expressions()])
def test_every_metric_is_one_that_is_exposed(expression: str, exposed: dict[str, list[dict[str, str]]]) -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    names = metric_names(expression)
    assert names, "an expression without a metric"
    assert names <= recorded | ITS_OWN.keys() | exposed.keys()
    for metric, selectors in re.findall(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}", expression):
        for label, operator, value in re.findall(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"', selectors):
            if metric in exposed:
                assert all(label in labels or label in SCRAPED for labels in exposed[metric]), (metric, label)
            if metric in exposed and operator in ("=", "=~") and label not in SCRAPED:
                pattern = re.escape(value) if operator == "=" else value
                assert any(re.fullmatch(pattern, labels[label]) for labels in exposed[metric]), (metric, label, value)
            if metric in ITS_OWN:
                assert label in ITS_OWN[metric]


def test_dashboards_are_provisioned() -> None:
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/cin.yml").read_text())["providers"]
    compose = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
    mounted = dict(volume.split(":")[:2][::-1] for volume in compose["services"]["grafana"]["volumes"])
    assert mounted[provider["options"]["path"]] == "./docker/grafana/dashboards"
    assert mounted["/etc/grafana/provisioning"] == "./docker/grafana/provisioning"
    assert source["url"] == "http://prometheus:9090"
    boards = [json.loads(path.read_text(encoding="utf-8")) for path in DASHBOARDS]
    assert len({board["uid"] for board in boards}) == len(boards) == 2
    for board in boards:
        assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
        for panel in board["panels"]:
            assert panel["datasource"] == {"type": source["type"], "uid": source["uid"]}
            assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
