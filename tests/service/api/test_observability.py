"""What the service says about itself: health, model, metrics, its headers."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from service.app import create_app
from service.bundle import Bundle
from service.prediction.decision import REASONS
from service.settings import Settings
from tests.service.conftest import Start, service_of
from tests.service.tiny_bundle import CLASSES, dark_square, picture_bytes
from tests.service.wire import PICTURE, post

HEADERS = {"content-type": "image/png"}


def _samples(client: TestClient) -> dict[str, list[Any]]:
    families = text_string_to_metric_families(client.get("/metrics").text)
    samples: dict[str, list[Any]] = {}
    for family in families:
        for sample in family.samples:
            samples.setdefault(sample.name, []).append(sample)
    return samples


def _value(client: TestClient, metric: str, /, **labels: str) -> float:
    matches = [s.value for s in _samples(client)[metric] if s.labels == labels]
    assert len(matches) == 1, (metric, labels)
    return float(matches[0])


def test_healthy_and_ready(client: TestClient, tiny_bundle: Bundle) -> None:
    assert client.get("/healthz").json() == {"status": "alive"}
    readiness = client.get("/readyz")
    assert readiness.status_code == 200
    body = readiness.json()
    assert (body["ready"], body["reason"], body["provider"], body["variant"]) == (True, None, "cpu", "fp32")
    assert body["queue_depth"] == 0
    assert body["canary_max_difference"] < tiny_bundle.manifest.canary.tolerance


def test_a_queue_that_stopped_is_not_ready(client: TestClient) -> None:
    service = service_of(client)
    assert client.portal is not None
    client.portal.call(service.scheduler.batcher.stop)
    assert client.get("/readyz").status_code == 503
    assert client.post("/predict", content=PICTURE, headers=HEADERS).status_code == 503


def test_the_model(client: TestClient, tiny_bundle: Bundle) -> None:
    model = client.get("/model").json()
    assert model["card"] == tiny_bundle.model_card()
    assert model["manifest"] == tiny_bundle.manifest.model_dump(mode="json")
    assert model["sha256"] == tiny_bundle.sha256
    assert (model["variant"], model["provider"], model["operating_point"]) == ("fp32", "cpu", "balanced")


def test_an_answer_without_advice_counts_as_no_diagnosis(start: Start, examining_bundle: Bundle) -> None:
    dark = picture_bytes(Image.new("RGB", (256, 256), (4, 2, 2)))
    with start(bundle=examining_bundle.folder) as client:
        assert post(client, dark).json()["diagnosis"] is None
        counted = {name: _value(client, "cin_predictions_total", diagnosis=name) for name in (*CLASSES, "none")}
    assert counted == {**dict.fromkeys(CLASSES, 0), "none": 1}


def test_a_service_without_jobs_does_not_say_that_their_redis_is_away(client: TestClient) -> None:
    """``CinJobsAway`` is about a gauge at 0."""
    assert math.isnan(_value(client, "cin_jobs_reachable"))


def test_metrics_of_one_prediction(client: TestClient, tiny_bundle: Bundle) -> None:
    answer = client.post("/predict", content=PICTURE, headers=HEADERS).json()
    client.get(answer["attention"]["lesion"])
    assert _value(client, "cin_requests_total", route="/predict", method="POST", status="200") == 1
    assert _value(client, "cin_request_duration_seconds_count", route="/predict") == 1
    for stage, num in {"decode": 2, "queue": 1, "inference": 1, "render": 1}.items():  # the canary is decoded at start
        assert _value(client, "cin_stage_duration_seconds_count", stage=stage) == num
    assert _value(client, "cin_predictions_total", diagnosis=answer["diagnosis"]) == 1
    for name in CLASSES:
        assert _value(client, "cin_probability_count", diagnosis=name) == 1
        assert _value(client, "cin_probability_sum", diagnosis=name) == pytest.approx(
            answer["probabilities"][name], abs=1e-6
        )
    first, second = (list(branch["probabilities"].values()) for branch in answer["branches"])
    distance = sum(abs(a - b) for a, b in zip(first, second, strict=True)) / 2
    assert _value(client, "cin_branch_disagreement_sum") == pytest.approx(distance, abs=1e-5)
    decision = answer["decision"]
    advice = "refer" if decision["refer"] else "no_referral"
    said = {"operating_point": "balanced", "advice": advice, "status": decision["status"]}
    assert _value(client, "cin_decisions_total", **said) == 1
    assert sum(s.value for s in _samples(client)["cin_decisions_total"]) == 1
    cautions = {s.labels["reason"]: s.value for s in _samples(client)["cin_cautions_total"]}
    assert cautions == {reason: reason in decision["reasons"] for reason in REASONS}
    box = answer["lesion"]["crop_box"]
    area = (box["x1"] - box["x0"]) * (box["y1"] - box["y0"]) / (answer["image"]["width"] * answer["image"]["height"])
    assert _value(client, "cin_crop_area_sum") == pytest.approx(area, abs=0.02)
    assert _value(client, "cin_lesion_fraction_sum") == pytest.approx(answer["lesion"]["fraction"], abs=1e-6)
    assert _value(client, "cin_batch_size_count") == 2, "the canary image and this one"
    assert _value(client, "cin_queue_depth") == _value(client, "cin_queue_places_taken") == 0
    assert _value(client, "cin_queue_places") == 64
    assert _value(client, "cin_requests_in_flight") == 1  # the one that asks
    assert _value(client, "cin_ready") == _value(client, "cin_canary_ok") == 1
    assert _value(client, "cin_provider_active", provider="cpu") == 1
    assert _value(client, "cin_provider_active", provider="cuda") == 0
    assert _value(client, "cin_gpu_expected") == 0
    info = {"name": "tiny", "version": "0.0.1", "sha256": tiny_bundle.sha256, "variant": "fp32", "provider": "cpu"}
    assert _value(client, "cin_model_info", **info) == 1


def test_refusals_are_counted_by_reason(client: TestClient) -> None:
    client.post("/predict", content=b"", headers=HEADERS)
    client.post("/predict", content=b"nothing", headers=HEADERS)
    assert _value(client, "cin_rejected_total", reason="malformed-request") == 1
    assert _value(client, "cin_rejected_total", reason="unsupported-type") == 1
    assert _value(client, "cin_rejected_total", reason="queue-full") == 0


def test_every_metric_is_ours_and_no_request_makes_a_new_series(client: TestClient) -> None:
    def hammer(seed: int) -> None:
        client.post("/predict", content=PICTURE, headers=HEADERS)
        for path in (f"/nothing/{seed}", f"/attention/{seed:032x}", f"/predictions/{seed:032x}", f"/metrics?x={seed}"):
            client.get(path)
        client.request(f"VERB{seed}", "/predict")

    hammer(0)
    before = {(s.name, *sorted(s.labels.items())) for group in _samples(client).values() for s in group}
    for seed in range(1, 20):
        hammer(seed)
    after = {(s.name, *sorted(s.labels.items())) for group in _samples(client).values() for s in group}
    assert after == before
    assert all(name.startswith("cin_") for name, *_ in after)
    routes = {value for _, *labels in after for key, value in labels if key == "route"}
    assert {"/predict", "/attention/{id}", "/predictions/{id}", "/metrics", "unmatched"} <= routes
    assert not any(re.search("[0-9a-f]{32}", route) for route in routes)


def test_two_services_share_no_metrics(client: TestClient, start: Any) -> None:
    client.post("/predict", content=PICTURE, headers=HEADERS)
    with start() as other:
        assert _value(other, "cin_requests_total", route="/predict", method="POST", status="200") == 0


def test_the_reference_has_the_edges_of_the_buckets(client: TestClient, tiny_bundle: Bundle) -> None:
    reference = tiny_bundle.manifest.reference
    assert reference is not None
    buckets = {(s.labels["diagnosis"], s.labels["le"]) for s in _samples(client)["cin_probability_bucket"]}
    shares: dict[str, list[float]] = {}
    for sample in _samples(client)["cin_probability_reference"]:
        name, over, le = (sample.labels[label] for label in ("diagnosis", "over", "le"))
        assert (name, le) in buckets
        assert over == "0.0" or (name, over) in buckets
        shares.setdefault(name, []).append(sample.value)
    assert shares == {name: histogram.shares for name, histogram in reference.probabilities.items()}


@pytest.mark.parametrize(
    ("settings", "devices", "expected"),
    [
        ({"provider": "auto"}, (), False),
        ({"provider": "auto"}, ("nvidia0", "nvidiactl"), True),
        ({"provider": "auto"}, ("nvidiactl",), False),
        ({"provider": "cpu"}, ("nvidia0",), False),
        ({"provider": "cuda"}, (), True),
        ({"provider": "auto", "require_gpu": True}, (), True),
    ],
)
def test_when_a_gpu_is_expected(tmp_path: Path, settings: Any, devices: tuple[str, ...], expected: bool) -> None:
    for name in devices:
        (tmp_path / name).touch()
    assert Settings(**settings).expects_gpu(tmp_path) == expected


@pytest.mark.parametrize("path", ["/healthz", "/model", "/metrics", "/docs", "/nothing"])
def test_headers_on_every_answer(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-frame-options"] == "DENY"
    policy = {rule.split()[0]: rule.split()[1:] for rule in headers["content-security-policy"].split(";")}
    assert policy["default-src"] == policy["frame-ancestors"] == ["'none'"]
    assert headers["cross-origin-opener-policy"] == headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize("path", ["/predict", "/model", "/docs", "/openapi.json"])
def test_other_sites_are_allowed_nothing(client: TestClient, path: str) -> None:
    asks = {"Origin": "https://example.org", "Access-Control-Request-Method": "POST"}
    preflight = client.options(path, headers=asks)
    assert preflight.status_code == 405
    plain = client.get(path, headers=asks)
    for answer in (preflight, plain):
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_the_reference_asks_no_other_site(client: TestClient) -> None:
    page = client.get("/docs")
    sources = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert sorted(sources) == ["/docs/start.js", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css", "data:,"]
    for path in sources[1:]:
        answer = client.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-type"].partition(";")[0] in ("text/javascript", "text/css")
    assert '"/openapi.json"' in client.get("/docs/start.js").text
    assert "script-src 'self';" in page.headers["content-security-policy"]
    assert "<script>" not in page.text, "the policy forbids scripts in the page"
    assert client.get("/docs/favicon.png").status_code == 400
    assert client.get("/redoc").status_code == 404


def test_nothing_is_exported_to_a_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []

    class Recorded(FastAPI):
        def __init__(self, **options: Any) -> None:
            made.append(options)
            super().__init__(**options)

    monkeypatch.setattr("service.app.FastAPI", Recorded)
    create_app(Settings())
    assert made[0]["telemetry"] == dict.fromkeys(("tracing", "metrics", "logs", "auto_configure"), False)


def test_an_app_starts_again_after_it_stopped(tiny_bundle: Bundle) -> None:
    app = create_app(Settings(bundle=tiny_bundle.folder, provider="cpu", inference_threads=1))
    for num in (1, 2):
        with TestClient(app) as client:
            assert post(client, picture_bytes(dark_square())).status_code == 200
            assert f'cin_requests_total{{method="POST",route="/predict",status="200"}} {num}.0' in (
                client.get("/metrics").text
            )
