"""The trained experiment as one ONNX graph, picture in and everything out, in a bundle that passed its gate."""

from __future__ import annotations

import copy
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from model_training.config import DataConfig
from model_training.data.frames import FrameSet
from model_training.data.isic import read_set
from model_training.evaluation.calibration import operating_points
from model_training.evaluation.evaluate import SPLITS, read_calibration, read_report
from model_training.evaluation.predictions import read_predictions
from model_training.release.abstention import add_abstention, read_judged
from model_training.release.deployed import (
    DeployedCIN,
    fold_batch_norms,
    output_specs,
    round_weights,
)
from model_training.release.graph import export_graph, ship_graph
from model_training.release.parity import (
    GATE_BATCHES,
    MAX_BOX_DIFFERENCE_PIXELS,
    MAX_PROBABILITY_DIFFERENCE,
    compare,
    run_onnx,
    run_torch,
)
from model_training.release.variants import PRECISIONS, JudgedGraph, Precision, convert_and_judge
from model_training.reporting.model_card import INTENDED_USE, LICENCE, model_card
from model_training.reporting.report import write_report
from model_training.training.experiment import Experiment
from model_training.training.run_folder import git_commit, stage_config
from service.bundle import (
    CANARY_OUTPUTS_NAME,
    CANARY_PICTURE_NAME,
    MODEL_CARD_NAME,
    Bundle,
    Canary,
    DiagnosisClass,
    Provenance,
    TensorSpec,
    Variant,
    check_target,
    measure_reference,
    write_bundle,
)
from service.imaging import read_picture

GRAPH_NAME = "cin-fp32.onnx"

CLASSES = {
    "melanoma": DiagnosisClass(name="melanoma", label="Melanoma", malignant=True),
    "seborrheic_keratosis": DiagnosisClass(name="seborrheic_keratosis", label="Seborrheic keratosis", malignant=False),
    "nevus": DiagnosisClass(name="nevus", label="Nevus", malignant=False),
    "benign": DiagnosisClass(name="benign", label="Benign", malignant=False),
    "malignant": DiagnosisClass(name="malignant", label="Malignant (melanoma)", malignant=True),
}


class GateError(ValueError):
    """The exported graph does not give what the network gives; no bundle was written."""


def deployed_network(experiment: Experiment, num_classes: int) -> DeployedCIN:
    """The experiment's finished network with its calibration, batch normalisation folded, ready to be exported."""
    network = DeployedCIN(
        experiment.locator(),
        experiment.recognition_network(num_classes),
        size=experiment.config.network.size,
        calibration=read_calibration(experiment),
    )
    network.network.distinguish = None  # the training phase's module
    fold_batch_norms(network)
    return network.eval().requires_grad_(False)


def export_bundle(
    experiment: Experiment, out: Path, *, name: str, version: str, ledger: Path, photographs: Path | None = None
) -> Bundle:
    """Export, hold against PyTorch on the whole validation set, and write the bundle.

    Needs both stages finished and the validation split evaluated; the test figures go into the card when they exist.
    A variant of less precision is in the bundle when it passes its own gate, see
    :mod:`model_training.release.variants`; when pictures get no advice is fitted to it last, see
    :mod:`model_training.release.abstention`, and counted in the folder of ``photographs`` too, which show anything but
    dermoscopy. Raises :class:`GateError`, and writes nothing, when the graph differs from the network by more than the
    gate allows.
    """
    check_target(out)
    config = experiment.config
    if config.evaluation.views != 1:
        raise GateError("the graph shows each branch one view: evaluate, and export, with evaluation.views=1")
    # First what may be wrong with what was asked for: what follows takes minutes, and may read the test set.
    data = config.data
    shown = (
        None
        if photographs is None
        else read_judged(photographs, frame_size=data.frame_size, jpeg_quality=data.copies_jpeg_quality)
    )
    pictures = experiment.validation_set()
    trained = deployed_network(experiment, len(pictures.classes))
    specs = output_specs(
        num_classes=len(pictures.classes),
        size=config.network.size,
        num_features=trained.num_features,
        with_feature_attention=config.network.lesion_feature_attention,
    )
    network = copy.deepcopy(trained)
    round_weights(network)
    frames = np.asarray(pictures.frames)
    with tempfile.TemporaryDirectory() as scratch:
        float32, graph = Path(scratch) / "float32.onnx", Path(scratch) / GRAPH_NAME
        with experiment.console.status("exporting the graph"):
            export_graph(network, float32, frame_size=config.data.frame_size, specs=specs)
            ship_graph(float32, graph)
        reference = run_torch(network, frames, specs, batch=16)
        gate: dict[str, float | int | str | bool] = {"pictures": f"{pictures.name} ({len(pictures)})"}
        for batch in GATE_BATCHES:
            parity = compare(reference, run_onnx(graph, frames, specs, batch), size=config.network.size)
            experiment.console.print(f"batch {batch}: {parity}", highlight=False)
            if not parity.passed:
                raise GateError(
                    f"batch {batch}: {parity}; the limits are {MAX_PROBABILITY_DIFFERENCE} in probability, "
                    f"no other diagnosis, {MAX_BOX_DIFFERENCE_PIXELS} pixels; no bundle was written"
                )
            gate[f"max_probability_difference_batch_{batch}"] = parity.max_probability_difference
            gate[f"max_box_difference_pixels_batch_{batch}"] = parity.max_box_difference_pixels
        rounding = compare(run_torch(trained, frames, specs, batch=16), reference, size=config.network.size)
        gate["max_probability_difference_by_rounding"] = rounding.max_probability_difference
        gate["max_box_difference_pixels_by_rounding"] = rounding.max_box_difference_pixels
        gate["diagnoses_changed_by_rounding"] = rounding.diagnoses_changed
        variant = Variant(
            name="fp32",
            file=GRAPH_NAME,
            description="float32 arithmetic on weights stored as float16",
            gate={**gate, "passed": True},
        )
        files = {GRAPH_NAME: graph, **_write_canary(experiment, pictures, network, specs, Path(scratch))}
        variants = [variant]
        for precision in PRECISIONS:
            converted = Path(scratch) / f"converted-{precision.name}.onnx"
            purpose = f"gate {name} {version} {precision.name}"
            judged = convert_and_judge(experiment, precision, float32, converted, specs, ledger=ledger, purpose=purpose)
            if judged.gate["passed"]:
                written = _write_variant(precision, judged, files[CANARY_PICTURE_NAME], config.data, specs)
                files |= {path.name: path for path in written}
                variants.append(_variant(precision, written, judged.gate))
            else:
                experiment.console.print(f"{precision.name} is left out: {judged.gate}", highlight=False)
        manifest = _manifest(experiment, pictures, specs, variants, name=name, version=version)
        report = write_report(experiment, Path(scratch) / "report")
        files |= {path.name: path for path in report.files}
        card = Path(scratch) / MODEL_CARD_NAME
        card.write_text(model_card(manifest, config, report.judgement), encoding="utf-8")
        bundle = write_bundle(Path(scratch) / "bundle", files={**files, MODEL_CARD_NAME: card}, manifest=manifest)
        evaluated = read_report(experiment, "test") is not None
        return add_abstention(
            bundle,
            out,
            experiment,
            ledger=ledger,
            purpose=f"abstention {name} {version}" if evaluated else None,
            photographs=shown,
        )


def _write_canary(
    experiment: Experiment, pictures: FrameSet, network: DeployedCIN, specs: list[TensorSpec], folder: Path
) -> dict[str, Path]:
    """The first validation picture as it came, and what the network gives for it."""
    data = experiment.config.data
    source = data.validation if data.fold is None and data.holdout is None else data.train
    samples = {sample.id: sample for sample in read_set(experiment.data, source, allow_missing=True).samples}
    sample = samples[pictures.ids[0]]
    picture, expected = folder / CANARY_PICTURE_NAME, folder / CANARY_OUTPUTS_NAME
    picture.write_bytes(sample.picture.read_bytes())
    frame = read_picture(picture.read_bytes(), data.frame_size, jpeg_quality=data.copies_jpeg_quality).frame
    outputs: dict[str, Any] = run_torch(network, frame[None], specs, batch=1)
    np.savez_compressed(expected, **outputs)
    return {CANARY_PICTURE_NAME: picture, CANARY_OUTPUTS_NAME: expected}


class _VariantFiles(NamedTuple):
    """The graph as it is shipped, and what it gives for the canary picture."""

    graph: Path
    canary_outputs: Path


def _write_variant(
    precision: Precision, judged: JudgedGraph, canary: Path, data: DataConfig, specs: list[TensorSpec]
) -> _VariantFiles:
    folder = judged.path.parent
    files = _VariantFiles(folder / f"cin-{precision.name}.onnx", folder / f"canary-{precision.name}.npz")
    ship_graph(judged.path, files.graph)
    frame = read_picture(canary.read_bytes(), data.frame_size, jpeg_quality=data.copies_jpeg_quality).frame
    outputs: dict[str, Any] = run_onnx(files.graph, frame[None], specs, batch=1, provider=precision.provider)
    np.savez_compressed(files.canary_outputs, **outputs)
    return files


def _variant(precision: Precision, files: _VariantFiles, gate: dict[str, Any]) -> Variant:
    return Variant(
        name=precision.name,
        file=files.graph.name,
        description=precision.description,
        gate=gate,
        canary_outputs=files.canary_outputs.name,
        canary_tolerance=precision.canary_tolerance,
    )


def _manifest(
    experiment: Experiment,
    pictures: FrameSet,
    specs: list[TensorSpec],
    variants: list[Variant],
    *,
    name: str,
    version: str,
) -> dict[str, Any]:
    config = experiment.config
    classes = [CLASSES[c] for c in pictures.classes]
    _, probabilities = read_predictions(experiment.evaluation("validation") / "predictions.csv", pictures.classes)
    malignant = np.array([c.malignant for c in classes])
    points = operating_points(
        malignant[pictures.labels],
        probabilities[:, malignant].sum(axis=1),
        measured_on=f"{pictures.name} ({len(pictures)} pictures), on which the threshold was also chosen",
    )
    stages = {"recognition": experiment.recognition_run}
    if config.network.lesion_area_attention:
        stages["area"] = experiment.area_run
    about = {stage: run.read_json("run.json") for stage, run in stages.items()}
    resolved = {stage: {"precision": about[stage]["precision"], **stage_config(config, stage)} for stage in stages}
    return {
        "name": name,
        "version": version,
        "classes": classes,
        "frame_size": config.data.frame_size,
        "frame_jpeg_quality": config.data.copies_jpeg_quality,
        "network_size": config.network.size,
        "input": TensorSpec(
            name="image",
            dtype="uint8",
            shape=["batch", config.data.frame_size, config.data.frame_size, 3],
            meaning="the whole upright picture squashed to a square, sRGB",
        ),
        "outputs": specs,
        "variants": variants,
        "temperature": read_calibration(experiment).temperature_N.tolist(),
        "prevalence": _prevalence(experiment),
        "operating_points": points,
        "default_operating_point": "balanced",
        "reference": measure_reference(probabilities, list(pictures.classes), measured_on=pictures.name),
        "provenance": Provenance(
            git_commit=about["recognition"]["git_commit"],
            created_at=datetime.now(UTC),
            start=about["recognition"]["start"],
            data=about["recognition"]["data"],
            seeds=[config.seed],
            config={**resolved, "export": {"git_commit": git_commit()}},
            metrics=_reported_metrics(experiment),
        ),
        "licence": LICENCE,
        "intended_use": INTENDED_USE,
        "canary": Canary(
            picture=CANARY_PICTURE_NAME,
            outputs=CANARY_OUTPUTS_NAME,
            tolerance=1e-3,
            source=f"{pictures.ids[0]} of {pictures.name}, CC0",
        ),
    }


def _prevalence(experiment: Experiment) -> dict[str, float]:
    """The share of each class in the mix for which the probabilities hold."""
    train, _ = experiment.training_sets()
    if experiment.config.evaluation.prevalence == "balanced" and experiment.config.recognition.class_weights != "none":
        return dict.fromkeys(train.classes, 1 / len(train.classes))
    counts = np.bincount(train.labels, minlength=len(train.classes))
    return dict(zip(train.classes, (counts / counts.sum()).tolist(), strict=True))


def _reported_metrics(experiment: Experiment) -> dict[str, dict[str, float]]:
    """The figures of every split that was evaluated, by the name of its set."""
    found = {}
    for split in SPLITS:
        report = read_report(experiment, split)
        if report is not None:
            found[report["set"]] = report["metrics"]
    return found
