"""Images beyond the bundle's limits get their reasons and no advice, over HTTP and on the command line."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from service.bundle import Bundle, BundleError, write_bundle
from service.bundle.abstention import ABSTAINS, Abstention, LimitReason, Quality, beyond_limits
from service.bundle.feature_distance import fit_feature_distance
from service.bundle.image_quality import MIN_COLOUR
from service.cli.main import app
from tests.service.conftest import Start
from tests.service.tiny_bundle import LIMITS, dark_square, picture_bytes
from tests.service.wire import post

WITHIN = Quality(sharpness=0.4, dark_share=0.1, bright_share=0.1, colour=40.0, unfamiliarity=1.0)

# Images that show something else, and why the tiny bundle gives no advice on them.
STRANGE = {
    "square": (dark_square(), []),
    "night": (dark_square().point(lambda v: v * 0.3), ["not_dermoscopy", "too_dark"]),
    "glare": (dark_square().point(lambda v: v * 1.3), ["too_bright"]),
    "wall": (Image.new("RGB", (256, 256), (200, 150, 140)), ["blurred", "no_lesion_found"]),
}


@pytest.mark.parametrize(
    ("change", "fraction", "reason"),
    [
        ({"unfamiliarity": 6.01}, 0.3, "not_dermoscopy"),
        ({"sharpness": 0.19}, 0.3, "blurred"),
        ({"dark_share": 0.51}, 0.3, "too_dark"),
        ({"bright_share": 0.61}, 0.3, "too_bright"),
        ({"colour": 2.9}, 0.3, "no_colour"),
        ({}, 0.0, "no_lesion_found"),
        ({}, 0.019, "tiny_lesion"),
    ],
)
def test_every_limit_has_its_reason(change: dict[str, float], fraction: float, reason: LimitReason) -> None:
    assert beyond_limits(replace(WITHIN, **change), fraction, LIMITS) == [reason]
    assert beyond_limits(WITHIN, 0.3, LIMITS) == []


def test_a_limit_itself_is_within() -> None:
    at = Quality(
        sharpness=LIMITS.min_sharpness,
        dark_share=LIMITS.max_dark_share,
        bright_share=LIMITS.max_bright_share,
        colour=MIN_COLOUR,
        unfamiliarity=LIMITS.max_unfamiliarity,
    )
    assert beyond_limits(at, LIMITS.min_lesion_fraction, LIMITS) == []


def _counts(client: TestClient, metric: str) -> dict[str, float]:
    samples = (s for f in text_string_to_metric_families(client.get("/metrics").text) for s in f.samples)
    return {s.labels["reason"]: s.value for s in samples if s.name == metric}


def _answer(client: TestClient, picture: Image.Image) -> dict[str, Any]:
    answer: dict[str, Any] = post(client, picture_bytes(picture)).json()
    return answer


def test_what_is_beyond_a_limit_gets_no_advice_and_is_counted(start: Start, examining_bundle: Bundle) -> None:
    with start(bundle=examining_bundle.folder) as client:
        assert set(_counts(client, "cin_abstentions_total")) == ABSTAINS
        for name, (picture, because) in STRANGE.items():
            answer = _answer(client, picture)
            raw = client.get(f"/v1/predictions/{answer['id']}?include=raw").json()
            decision = answer["decision"]
            assert decision["abstained_because"] == because, (name, answer["quality"])
            assert set(because) <= set(decision["reasons"])
            if because:
                assert (decision["status"], decision["refer"]) == ("abstained", None)
            else:
                assert decision["status"] in ("ok", "caution")
                assert decision["refer"] is True
            assert raw["probabilities"].keys() == raw["branches"][0]["probabilities"].keys()
            assert (answer == raw) == (not because)
            assert client.get(f"/predictions/{answer['id']}").json() == answer
        counted = {reason: sum(reason in because for _, because in STRANGE.values()) for reason in ABSTAINS}
        assert _counts(client, "cin_abstentions_total") == counted
        told = client.get("/metrics").text
        decisions = 'cin_decisions_total{advice="none",operating_point="balanced",status="abstained"} 3.0'
        assert decisions in told
        assert "cin_unfamiliarity_count 4.0" in told
        assert client.get("/model").json()["abstains"] == "on"


def test_the_reasons_alone_when_that_is_what_is_wanted(start: Start, examining_bundle: Bundle) -> None:
    with start(bundle=examining_bundle.folder, abstain="caution") as client:
        answer = _answer(client, STRANGE["night"][0])
        assert (answer["decision"]["status"], answer["decision"]["abstained_because"]) == ("caution", [])
        assert {"not_dermoscopy", "too_dark"} <= set(answer["decision"]["reasons"])
        assert isinstance(answer["decision"]["refer"], bool)
        assert client.get("/model").json()["abstains"] == "caution"
        assert _counts(client, "cin_abstentions_total")["too_dark"] == 0
    with start(bundle=examining_bundle.folder, abstain="off") as client:
        answer = _answer(client, STRANGE["night"][0])
        assert answer["quality"] is None
        assert not set(answer["decision"]["reasons"]) & (ABSTAINS - {"no_lesion_found"})
        assert client.get("/model").json()["abstains"] == "off"


def test_a_bundle_without_limits_advises_on_everything(client: TestClient) -> None:
    for picture, because in STRANGE.values():
        answer = _answer(client, picture)
        assert answer["quality"] is None
        assert answer["decision"]["abstained_because"] == []
        assert isinstance(answer["decision"]["refer"], bool)
        assert ("no_lesion_found" in answer["decision"]["reasons"]) == ("no_lesion_found" in because)
    assert client.get("/model").json()["abstains"] == "no limits"
    assert client.get("/model").json()["manifest"]["abstention"] is None


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_on_the_command_line(
    examining_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setenv("CIN_BUNDLE", str(examining_bundle.folder))
    monkeypatch.setenv("CIN_PROVIDER", "cpu")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name, (picture, _) in STRANGE.items():
        picture.save(pictures / f"{name}.png")
    table = CliRunner().invoke(app, ["predict", str(pictures)])
    lines = {Path(line.split()[0]).stem: line.split()[1:] for line in table.stdout.splitlines()[1:]}
    for name, (_, because) in STRANGE.items():
        # No diagnosis, no probability, no advice.
        assert (lines[name][:4] == ["no", "assessment", "-", "-"]) == bool(because), name
        assert all(reason in " ".join(lines[name]) for reason in because)
    out = tmp_path / f"answers.{suffix}"
    for _ in range(2):  # the second time there is nothing left to do
        assert CliRunner().invoke(app, ["predict", str(pictures), "--out", str(out)]).exit_code == 0
    text = out.read_text(encoding="utf-8")
    if suffix == "csv":
        rows = list(csv.DictReader(text.splitlines()))
        told = {Path(r["picture"]).stem: (r["abstained_because"].split(), r["refer"] or None) for r in rows}
        assert all(float(row["unfamiliarity"]) > 0.0 for row in rows)
    else:
        answers = [json.loads(line) for line in text.splitlines()]
        told = {Path(a["picture"]).stem: (a["decision"]["abstained_because"], a["decision"]["refer"]) for a in answers}
    assert len(told) == len(STRANGE)
    for name, (_, because) in STRANGE.items():
        assert told[name][0] == because
        assert (told[name][1] is None) == bool(because)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"outputs": []}, "abstention needs the output features"),
        ({"abstention": LIMITS.model_copy(update={"familiarity": "other.npz"})}, r"without a SHA-256: other\.npz"),
    ],
)
def test_limits_need_what_they_are_about(
    examining_bundle: Bundle, tmp_path: Path, changes: dict[str, Abstention], message: str
) -> None:
    fields = examining_bundle.manifest.model_dump(exclude={"schema_version", "files"})
    files = {name: examining_bundle.path(name) for name in examining_bundle.manifest.files}
    with pytest.raises((BundleError, ValueError), match=message):
        write_bundle(tmp_path / "bundle", files=files, manifest={**fields, **changes})


def test_limits_of_other_features_are_refused(examining_bundle: Bundle, tmp_path: Path) -> None:
    narrow = tmp_path / "familiarity.npz"
    fit_feature_distance(np.random.default_rng(0).random((20, 2, 4), dtype=np.float32), num_components=2).save(narrow)
    fields = examining_bundle.manifest.model_dump(exclude={"schema_version", "files"})
    files = {name: examining_bundle.path(name) for name in examining_bundle.manifest.files}
    with pytest.raises(BundleError, match=r"is about 8 features, the graphs have \d+"):
        write_bundle(tmp_path / "bundle", files={**files, narrow.name: narrow}, manifest=fields)


def test_no_code_comes_with_the_limits(examining_bundle: Bundle, tmp_path: Path) -> None:
    hostile = tmp_path / "familiarity.npz"
    np.savez(hostile, mean=np.array([print], dtype=object))
    fields = examining_bundle.manifest.model_dump(exclude={"schema_version", "files"})
    files = {name: examining_bundle.path(name) for name in examining_bundle.manifest.files}
    with pytest.raises(ValueError, match="pickle"):
        write_bundle(tmp_path / "bundle", files={**files, hostile.name: hostile}, manifest=fields)
