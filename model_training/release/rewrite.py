"""A bundle's report written again from kept answers, after changes of what reports say; no network is run."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from model_training.config import Config
from model_training.evaluation.calibration import Calibration
from model_training.evaluation.evaluate import EVALUATIONS
from model_training.evaluation.groups import groups_of
from model_training.evaluation.predictions import read_branches
from model_training.files import read_json, write_json, write_text
from model_training.reporting.abstention_card import with_abstention
from model_training.reporting.clear_derm import clear_derm
from model_training.reporting.judgement import Answers, judge
from model_training.reporting.model_card import model_card
from model_training.reporting.report import CHECKLIST_NAME, FIGURES_NAME, evaluated_images
from model_training.reporting.summary_card import with_summary
from model_training.training.command_line import command_line
from model_training.training.experiment import Experiment
from service.bundle import MODEL_CARD_NAME, Bundle, BundleError, write_bundle


def rewrite_report(bundle: Bundle, experiment: Experiment, answers: Path, out: Path) -> Bundle:
    """Write ``bundle`` to ``out`` with its figures, checklist and card made again; all other files stay as they are.

    ``answers`` holds, of each evaluation, ``<split>.json`` and ``<split>-branches.csv``. Raises :class:`BundleError`
    for answers to other images than those that ``experiment`` reads, and for answers that choose other thresholds than
    the bundle's.
    """
    manifest = bundle.manifest
    sets = _kept_answers(bundle, experiment, answers)
    judgement = judge(sets, choose_rule=manifest.not_sure is not None)
    _check_thresholds(bundle, judgement)
    figures = json.loads(bundle.path(FIGURES_NAME).read_text(encoding="utf-8"))
    for name, judged in judgement.items():
        if "seen_in_training" in figures["sets"][name]:
            judged["seen_in_training"] = figures["sets"][name]["seen_in_training"]
    config = trained_config(bundle)
    files = {name: bundle.path(name) for name in manifest.files}
    with tempfile.TemporaryDirectory() as folder:
        for name in (FIGURES_NAME, CHECKLIST_NAME, MODEL_CARD_NAME):
            files[name] = Path(folder) / name
        write_json(files[FIGURES_NAME], {**figures, "rewritten_by": command_line(), "sets": judgement})
        checklist = clear_derm(config, start=figures["start"], counts=figures["pictures"], judgement=judgement)
        write_text(files[CHECKLIST_NAME], checklist)
        card = model_card(dict(manifest), config, judgement)
        if manifest.abstention is not None:
            names = experiment.dermoscopy_names()
            card = with_abstention(
                card, manifest.abstention, name=manifest.name, version=manifest.version, dermoscopy=names
            )
        write_text(files[MODEL_CARD_NAME], with_summary(card, dict(manifest)))
        fields = manifest.model_dump(exclude={"schema_version", "files"})
        return write_bundle(out, files=files, manifest=fields)


def trained_config(bundle: Bundle) -> Config:
    """The configuration that the bundle was trained with, from its manifest."""
    sections = bundle.manifest.provenance.config
    prevalence = "balanced" if bundle.manifest.prevalence is None else "training"
    area = {"area": sections["area"]["area"]} if "area" in sections else {}
    return Config.model_validate({**sections["recognition"], **area, "evaluation": {"prevalence": prevalence}})


def _kept_answers(bundle: Bundle, experiment: Experiment, folder: Path) -> dict[str, Answers]:
    found = {}
    for split in EVALUATIONS:
        report = folder / f"{split}.json"
        if not report.is_file():
            continue
        about = read_json(report, mend="take it from the repository again")
        images = evaluated_images(experiment, split)
        ids, classes, branches_NBK = read_branches(folder / f"{split}-branches.csv")
        if images.digest != about["digest"] or tuple(ids) != images.ids:
            raise BundleError(f"{report} is about other images than those of {images.name} here")
        if classes != tuple(each.name for each in bundle.manifest.classes):
            raise BundleError(f"{report} is about other classes than {bundle.folder}")
        calibration = Calibration(torch.tensor(about["temperature"]), torch.tensor(about["log_prevalence"]))
        found[about["set"]] = Answers(
            tuple(bundle.manifest.classes),
            images.labels,
            branches_NBK,
            calibration.temperature_N.double().numpy(),
            calibration.log_prevalence_K.double().numpy(),
            groups=groups_of(images),
        )
    if not found:
        raise BundleError(f"{folder} holds none of {', '.join(f'{split}.json' for split in EVALUATIONS)}")
    return found


def _check_thresholds(bundle: Bundle, judgement: Mapping[str, Any]) -> None:
    chosen = {point["name"]: point["threshold"] for point in next(iter(judgement.values()))["operating_points"]}
    for point in bundle.manifest.operating_points:
        # The manifest's are of the rounded weights.
        if not math.isclose(chosen[point.name], point.threshold, rel_tol=1e-3):
            raise BundleError(
                f"these answers choose {chosen[point.name]:.4f} as the threshold of {point.name}, {bundle.folder} has "
                f"{point.threshold:.4f}: they are not the answers of this model"
            )
