"""The networks of the folds as graphs, for what is measured on the training set out of fold."""

from __future__ import annotations

from pathlib import Path

import torch

from model_training.config import NUM_FOLDS
from model_training.data.frames import FrameSet
from model_training.evaluation.calibration import Calibration
from model_training.evaluation.evaluate import log_prevalence
from model_training.evaluation.leakage import overlap
from model_training.network.backbones import make_stages
from model_training.release.export import deployed_network
from model_training.release.graph import export_graph
from model_training.release.manifest import prevalence_of
from model_training.release.rewrite import trained_config
from model_training.release.robustness import Part
from model_training.training.experiment import Experiment
from model_training.training.run_folder import NOT_TRAINING, RunError, differences, stage_config
from service.bundle import Bundle, BundleError

# A run may differ from its bundle in these settings of training.
_MAY_DIFFER = ("seed", "area.")


def out_of_fold_parts(bundle: Bundle, experiment: Experiment, folder: Path) -> list[Part]:
    """The training set in its folds, each with the graph of the network that was not trained on it, in ``folder``.

    Folds that are not finished are left out. The graphs have the bundle's temperatures and prevalence, for its
    thresholds and limits, which were chosen on answers to these images by other such networks. Raises
    :class:`BundleError` for a bundle without limits. Raises :class:`RunError` for other images, another second stage or
    other pretrained weights; for layers that learnt although the limits look at them; without a finished fold; and for
    one that was trained on images which it would answer.
    """
    manifest = bundle.manifest
    if manifest.abstention is None:
        raise BundleError(f"{bundle.folder} has no limits to abstain at; give it some: cin-train abstention")
    _check_same(bundle, experiment)
    calibration = Calibration(torch.tensor(manifest.temperature), log_prevalence(experiment))
    parts = []
    for fold in range(NUM_FOLDS):
        trained = experiment.without_fold(fold)
        if not trained.recognition_run.weights.is_file():
            continue
        images = trained.validation_set()
        _check_fold(trained, images, start=manifest.provenance.start)
        graph = folder / f"fold-{fold + 1}.onnx"
        network = deployed_network(trained, len(manifest.classes), calibration)
        export_graph(network, graph, frame_size=experiment.config.data.frame_size, specs=manifest.outputs)
        parts.append(Part(images, graph))
    if not parts:
        raise RunError(f"no fold of {experiment.folder} is finished; train them: cin-train out-of-fold")
    return parts


def other_settings(bundle: Bundle, experiment: Experiment) -> list[str]:
    """The settings of both stages in which a run differs from the bundle."""
    stages = ("area", "recognition") if experiment.config.network.lesion_area_attention else ("recognition",)
    configs = (trained_config(bundle), experiment.config)
    found = [differences(*(stage_config(config, stage) for config in configs)) for stage in stages]
    return sorted({key for keys in found for key in keys} - NOT_TRAINING)


def num_blocks_of_features(backbone: str) -> int:
    """The number of residual blocks in layer1 to layer3, whose features the limits look at."""
    return len(make_stages(backbone, num_stages=4).blocks())


def _check_same(bundle: Bundle, experiment: Experiment) -> None:
    manifest, config, run = bundle.manifest, experiment.config, experiment.folder
    if changed := [key for key in other_settings(bundle, experiment) if not key.startswith(_MAY_DIFFER)]:
        raise RunError(
            f"{run} was trained with another configuration than {bundle.folder} ({', '.join(changed)} differ), so its "
            "networks say nothing about the bundle; give the run of the same configuration"
        )
    if experiment.frames(config.data.train).digest != manifest.provenance.data.get(config.data.train):
        raise RunError(f"{config.data.train} has other images here than those that {bundle.folder} was trained on")
    if manifest.prevalence != prevalence_of(experiment):
        raise RunError(
            f"{bundle.folder} is calibrated for another prevalence than {run}; give the --set "
            "evaluation.prevalence that it was exported with"
        )
    num_blocks = num_blocks_of_features(config.network.features)
    if config.recognition.frozen_blocks < num_blocks:
        raise RunError(
            f"{bundle.folder} withholds advice by features that each fold's network learns anew "
            f"(recognition.frozen_blocks is below {num_blocks}); its limits hold for its own network only"
        )


def _check_fold(trained: Experiment, images: FrameSet, *, start: str) -> None:
    run = trained.recognition_run
    if (begun := run.read_json("run.json")["start"]) != start:
        raise RunError(f"{run.path} began with the weights {begun}, the bundle with {start}")
    if seen := overlap(trained, images).same_id:
        raise RunError(
            f"{run.path} was trained on {len(seen)} of the {len(images)} images that it would answer ({seen[0]}, ...); "
            "train the folds again: cin-train out-of-fold"
        )
