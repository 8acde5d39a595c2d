"""The model card and the checklist: about this network and these figures."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from typing import Any

import pytest

from model_training.config import Config
from model_training.data.isic import SET_NAMES
from model_training.reporting.abstention_card import with_abstention
from model_training.reporting.clear_derm import clear_derm
from model_training.reporting.model_card import model_card
from model_training.reporting.summary_card import with_summary
from service.bundle import Interval, NotSure, load_bundle
from service.settings import SHIPPED_BUNDLE
from tests.model_training.reporting.answers import fields_of_a_manifest


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (
            {},
            "(Liu et al., MICCAI 2020): ResNet18 features in two branches; modules: lesion area attention, lesion",
        ),
        ({"attention": "literal"}, "lesion feature attention (literal), distinguish module."),
        ({"branches": "single", "distinguish": False, "lesion_area_attention": False}, "features in one branch;"),
        ({"features": "resnet50"}, "ResNet50 features"),
        ({"lesion_feature_attention": False, "distinguish_form": "synergic"}, "three linear layers that compare pairs"),
    ],
)
def test_the_card_describes_the_network_it_is_about(
    network: dict[str, object], said: str, judgement: dict[str, Any]
) -> None:
    config = Config.model_validate({"network": network, "recognition": {"pairs": "balanced"}})
    judged = {"held-out": judgement["held-out"]}
    text = model_card(fields_of_a_manifest({"trained-on": "1", "held-out": "2"}), config, judged)
    assert said in text
    assert ("The Clinical-Inspired Network (Liu" in text) == (
        config.network.distinguish and config.network.lesion_feature_attention
    )
    assert "Trained on `trained-on`, temperature and thresholds chosen on `held-out`, not evaluated" in text
    single = config.network.branches == "single"
    assert ("batches of 32 images" if single else "batches of 32 balanced pairs") in text
    assert ("lambda 1." in text) == config.network.distinguish
    assert ("both branches" in text) == (not single)


@pytest.mark.parametrize(
    "departure",
    [
        {"network": {"canonical_orientation": True}},
        {"network": {"classifier_features": "all"}},
        {"network": {"classifier_start": "regression", "classifier_layers": 1}},
        {"area": {"cross_fit": True}},
        {"network": {"second_view": "whole"}},
        {"network": {"lesion_pooling": True}},
        {"recognition": {"frozen_blocks": 2}},
        {"recognition": {"frozen_branch": True}},
        {"recognition": {"new_module_rate": 10}},
        {"recognition": {"artefacts": 0.5}},
    ],
    ids=lambda departure: "-".join(key for section in departure.values() for key in section),
)
def test_what_departs_from_the_papers_training_is_told(departure: dict[str, Any], judgement: dict[str, Any]) -> None:
    fields, judged = fields_of_a_manifest({"trained-on": "1", "held-out": "2"}), {"held-out": judgement["held-out"]}
    usual, card = (model_card(fields, Config.model_validate(config), judged) for config in ({}, departure))
    assert len(card) > len(usual)


def test_the_penalty_on_variation_is_told(judgement: dict[str, Any]) -> None:
    fields, judged = fields_of_a_manifest({"trained-on": "1", "held-out": "2"}), {"held-out": judgement["held-out"]}
    regression = {"network": {"classifier_start": "regression", "classifier_layers": 1}}
    plain, steady = (
        model_card(fields, Config.model_validate({**regression, **more}), judged)
        for more in ({}, {"recognition": {"variation_penalty": 0.3}})
    )
    assert len(steady) > len(plain)


def test_the_rule_for_unsure_answers_is_told(judgement: dict[str, Any]) -> None:
    fields, judged = fields_of_a_manifest({"trained-on": "1", "held-out": "2"}), {"held-out": judgement["held-out"]}
    rule = NotSure(least_probability=0.4567, chosen_on="here", cost=Interval(value=0.05, low=0.04, high=0.0625))
    assert "0.457" not in model_card(fields, Config(), judged)
    assert "0.457" in model_card({**fields, "not_sure": rule}, Config(), judged)


def test_the_shipped_card_and_checklist_have_the_figures_that_are_written_today() -> None:
    """From the bundle's own manifest and figures, so that neither text can say what no longer holds."""
    bundle = load_bundle(SHIPPED_BUNDLE)
    manifest, provenance = bundle.manifest, bundle.manifest.provenance
    sections = provenance.config
    config = Config.model_validate(
        {
            **sections["recognition"],
            "area": sections["area"]["area"],
            "evaluation": {"prevalence": "training"},
        }
    )
    figures = json.loads(bundle.path("figures.json").read_text(encoding="utf-8"))
    card = model_card(dict(manifest), config, figures["sets"])
    assert manifest.abstention is not None
    card = with_abstention(
        card, manifest.abstention, name=manifest.name, version=manifest.version, dermoscopy=SET_NAMES
    )
    assert figures_in(bundle.model_card()) == figures_in(card)
    checklist = clear_derm(config, start=figures["start"], counts=figures["pictures"], judgement=figures["sets"])
    assert figures_in(bundle.path("CLEAR_DERM.md").read_text(encoding="utf-8")) == figures_in(checklist)


def figures_in(text: str) -> list[str]:
    """Every decimal number, in order; wording may change after a bundle was written."""
    return re.findall(r"\d+\.\d+", text)


def test_the_card_names_points_that_coincide_or_miss_their_aim(judgement: dict[str, Any]) -> None:
    judged = deepcopy(judgement)
    manifest = fields_of_a_manifest({"trained-on": "1", "held-out": "2"})
    first, second = (figures["operating_points"] for figures in judged.values())
    for points in (first, second):
        for point, threshold in zip(points, (0.3, 0.1, 0.3), strict=True):
            point["threshold"] = threshold
        for point in points[1:]:
            point["sensitivity"]["value"] = 0.96
    second[2]["sensitivity"] = {"value": 0.75, "low": 0.66, "high": 0.82}
    text = model_card(manifest, Config(), judged)
    assert "- `balanced` and `dermatologist` are the same threshold here." in text
    missed = "- `dermatologist` was chosen for a sensitivity of 0.82 and has 0.750 [0.660, 0.820] on `tested`."
    assert missed in text
    assert text.count("was chosen for a sensitivity") == 1
    second[2]["sensitivity"]["value"] = 0.9
    for point, threshold in zip(first, (0.3, 0.1, 0.2), strict=True):
        point["threshold"] = threshold
    assert "same threshold" not in (other := model_card(manifest, Config(), judged))
    assert "was chosen for a sensitivity" not in other
    assert "melanoma 20.0%, seborrheic keratosis 10.0%, nevus 70.0%" in other


def test_the_checklist_has_all_items(judgement: dict[str, Any]) -> None:
    config = Config.model_validate({"data": {"frame_size": 256, "copies_jpeg_quality": 75}})
    counts = {"isic2017-train": {"melanoma": 3, "seborrheic_keratosis": 4, "nevus": 5}}
    text = clear_derm(config, start="some start", counts=counts, judgement=judgement)
    assert [int(number) for number in re.findall(r"^(\d+)\. \*\*", text, flags=re.MULTILINE)] == list(range(1, 26))
    assert re.findall(r"^## (.+)", text, flags=re.MULTILINE) == [
        "Data",
        "Technique",
        "Technical assessment",
        "Application",
    ]
    assert "Trained on `isic2017-train`" in text
    assert "JPEG of quality 75" in text
    assert "`isic2017-train` 12" in text
    assert "some start" in text


def test_the_summary_says_what_happens_to_images_of_other_kinds() -> None:
    bundle = load_bundle(SHIPPED_BUNDLE)
    fields = dict(bundle.manifest)
    assert bundle.manifest.outside
    for of in bundle.manifest.outside:
        share = of.withheld if of.name == "clinical_photographs" else of.not_referred
        assert f"{100 * share.value:.0f} of 100" in with_summary(bundle.model_card(), fields)
    assert "basal cell carcinomas" not in with_summary(bundle.model_card(), {**fields, "outside": None})
