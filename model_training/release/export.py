"""Export an experiment as a model bundle: one ONNX graph, checked against PyTorch, and variants of lower precision."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from model_training.arrays import Frames
from model_training.data.frames import FrameSet
from model_training.evaluation.calibration import Calibration
from model_training.evaluation.evaluate import read_calibration, read_report
from model_training.release.abstention import NamedFrames, fit_abstention
from model_training.release.deployed import DeployedCIN, fold_batch_norms, output_specs, round_weights
from model_training.release.familiarity import Photographs
from model_training.release.graph import export_graph, ship_graph
from model_training.release.manifest import manifest_fields
from model_training.release.parity import (
    GATE_BATCHES,
    MAX_BOX_DIFFERENCE_PIXELS,
    MAX_PROBABILITY_DIFFERENCE,
    compare,
    run_onnx,
    run_torch,
)
from model_training.release.variants import PRECISIONS, JudgedGraph, Precision, convert_and_judge
from model_training.reporting.abstention_card import with_abstention
from model_training.reporting.model_card import LICENCE, model_card
from model_training.reporting.report import write_report
from model_training.reporting.summary_card import with_summary
from model_training.training.experiment import Experiment
from model_training.training.revision import git_commit
from service.bundle import (
    CANARY_OUTPUTS_NAME,
    CANARY_PICTURE_NAME,
    FAMILIARITY_NAME,
    MODEL_CARD_NAME,
    Bundle,
    TensorSpec,
    Variant,
    check_target,
    write_bundle,
)
from service.imaging import read_picture

GRAPH_NAME = "cin-fp32.onnx"


class GateError(ValueError):
    """The exported graph's outputs differ from the network's; no bundle was written."""


class _Export(NamedTuple):
    """One export: its inputs, and the folder for its files."""

    experiment: Experiment
    name: str
    version: str
    licence: str
    ledger: Path
    scratch: Path
    validation: FrameSet
    specs: list[TensorSpec]


class _Built(NamedTuple):
    """One variant of the bundle, and its files by their names in the bundle."""

    variant: Variant
    files: dict[str, Path]


def export_bundle(
    experiment: Experiment,
    out: Path,
    *,
    name: str | None = None,
    version: str,
    licence: str | None = None,
    ledger: Path,
    counted: NamedFrames | None = None,
    photographs: Photographs | None = None,
    dirty: bool = False,
) -> Bundle:
    """Export the network, compare it with PyTorch on the whole validation set, and write the bundle to ``out``.

    Both stages must be finished and the validation split evaluated; the card includes the test figures if they exist.
    The bundle gets every variant that passes its gate (:mod:`model_training.release.variants`) and the limits of
    abstention (:mod:`model_training.release.abstention`), which are fitted with ``photographs`` and also evaluated on
    ``counted``, images other than dermoscopy. ``ledger`` records each reading of the test set. Raises
    :class:`GateError`, and writes nothing, when the graph differs from the network by more than the gate allows;
    ``ValueError`` for uncommitted code, unless ``dirty``.
    """
    check_target(out)
    if git_commit().endswith("-dirty") and not dirty:
        raise ValueError(
            "the code differs from its commit, so the bundle could not be made again: commit, or use --dirty"
        )
    config = experiment.config
    is_own = config.data.is_own(config.data.train)
    own_name = name or f"cin-{config.data.train.partition('-')[0]}"
    own_licence = licence or ("No licence stated" if is_own else LICENCE)
    if config.evaluation.views != 1:
        raise GateError("the graph shows each branch one view: evaluate, and export, with evaluation.views=1")
    validation = experiment.validation_set()
    trained = deployed_network(experiment, len(validation.classes))
    specs = output_specs(
        num_classes=len(validation.classes),
        size=config.network.size,
        num_features=trained.num_features,
        with_feature_attention=config.network.lesion_feature_attention,
    )
    with tempfile.TemporaryDirectory() as folder:
        export = _Export(experiment, own_name, version, own_licence, ledger, Path(folder), validation, specs)
        unrounded_graph = export.scratch / "float32.onnx"
        float32 = _build_float32(export, trained, unrounded_graph)
        built = [float32, *_build_variants(export, unrounded_graph, float32.files[CANARY_PICTURE_NAME])]
        return _write(export, built, out, counted, photographs)


def deployed_network(experiment: Experiment, num_classes: int, calibration: Calibration | None = None) -> DeployedCIN:
    """The experiment's finished network with batch normalisation folded, ready to be exported.

    ``calibration``: its own by default, for which it must be evaluated.
    """
    network = DeployedCIN(
        experiment.locator(),
        experiment.recognition_network(num_classes),
        size=experiment.config.network.size,
        calibration=calibration or read_calibration(experiment),
        canonical_orientation=experiment.config.network.canonical_orientation,
    )
    network.network.distinguish = None  # used in training only
    fold_batch_norms(network)
    return network.eval().requires_grad_(False)


def _build_float32(export: _Export, trained: DeployedCIN, graph: Path) -> _Built:
    """Write the float32 ``graph``, check its gate, and add the canary image with its outputs."""
    network = copy.deepcopy(trained)
    round_weights(network)
    shipped = export.scratch / GRAPH_NAME
    with export.experiment.console.status("exporting the graph"):
        export_graph(network, graph, frame_size=export.experiment.config.data.frame_size, specs=export.specs)
        ship_graph(graph, shipped)
    variant = Variant(
        name="fp32",
        file=GRAPH_NAME,
        description="float32 arithmetic on weights stored as float16",
        gate=_pass_gate(export, trained, network, shipped),
    )
    return _Built(variant, {GRAPH_NAME: shipped, **_write_canary(export, network)})


def _pass_gate(export: _Export, trained: DeployedCIN, rounded: DeployedCIN, graph: Path) -> dict[str, Any]:
    """Compare ONNX Runtime with PyTorch on validation, and the rounded weights with the trained ones.

    Returns the gate's figures. Raises :class:`GateError` when the graph differs by more than the gate allows.
    """
    pictures, specs, size = export.validation, export.specs, export.experiment.config.network.size
    frames = np.asarray(pictures.frames)
    reference = run_torch(rounded, frames, specs, batch=16)
    gate: dict[str, Any] = {"pictures": f"{pictures.name} ({len(pictures)})"}
    for batch in GATE_BATCHES:
        parity = compare(reference, run_onnx(graph, frames, specs, batch), size=size)
        export.experiment.console.print(f"batch {batch}: {parity}", highlight=False)
        if not parity.passed:
            raise GateError(
                f"batch {batch}: {parity}; the limits are {MAX_PROBABILITY_DIFFERENCE} in probability, "
                f"no other diagnosis, {MAX_BOX_DIFFERENCE_PIXELS} pixels; no bundle was written"
            )
        gate[f"max_probability_difference_batch_{batch}"] = parity.max_probability_difference
        gate[f"max_box_difference_pixels_batch_{batch}"] = parity.max_box_difference_pixels
    rounding = compare(run_torch(trained, frames, specs, batch=16), reference, size=size)
    gate["max_probability_difference_by_rounding"] = rounding.max_probability_difference
    gate["max_box_difference_pixels_by_rounding"] = rounding.max_box_difference_pixels
    gate["diagnoses_changed_by_rounding"] = rounding.diagnoses_changed
    return {**gate, "passed": True}


def _write_canary(export: _Export, network: DeployedCIN) -> dict[str, Path]:
    """The first validation image, and the network's outputs for it.

    An official image is the original file. Of an own one only the frame is shipped: its file may name a patient.
    """
    data, sets = export.experiment.config.data, export.experiment.sets
    picture, expected = export.scratch / CANARY_PICTURE_NAME, export.scratch / CANARY_OUTPUTS_NAME
    if data.is_own(data.train):
        Image.fromarray(np.asarray(export.validation.frames[0])).save(picture, "JPEG", quality=95)
    else:
        source = data.validation if data.fold is None and data.holdout is None else data.train
        samples = {sample.id: sample for sample in sets.read(source, allow_missing=True).samples}
        picture.write_bytes(samples[export.validation.ids[0]].picture.read_bytes())
    outputs: dict[str, Any] = run_torch(network, _canary_frame(export, picture), export.specs, batch=1)
    np.savez_compressed(expected, **outputs)
    return {CANARY_PICTURE_NAME: picture, CANARY_OUTPUTS_NAME: expected}


def _canary_frame(export: _Export, picture: Path) -> Frames:
    """The canary as a batch of one frame."""
    data = export.experiment.config.data
    return read_picture(picture.read_bytes(), data.frame_size, jpeg_quality=data.copies_jpeg_quality).frame[None]


def _build_variants(export: _Export, float32: Path, canary: Path) -> Iterator[_Built]:
    """The variants of lower precision that pass their gates."""
    for precision in PRECISIONS:
        judged = convert_and_judge(
            export.experiment,
            precision,
            float32,
            export.scratch / f"converted-{precision.name}.onnx",
            export.specs,
            ledger=export.ledger,
            purpose=f"gate {export.name} {export.version} {precision.name}",
        )
        if judged.gate["passed"]:
            yield _build_variant(export, precision, judged, canary)
        else:
            export.experiment.console.print(f"{precision.name} is left out: {judged.gate}", highlight=False)


def _build_variant(export: _Export, precision: Precision, judged: JudgedGraph, canary: Path) -> _Built:
    graph = export.scratch / f"cin-{precision.name}.onnx"
    canary_outputs = export.scratch / f"canary-{precision.name}.npz"
    ship_graph(judged.path, graph)
    frame = _canary_frame(export, canary)
    outputs: dict[str, Any] = run_onnx(graph, frame, export.specs, batch=1, provider=precision.provider)
    np.savez_compressed(canary_outputs, **outputs)
    variant = Variant(
        name=precision.name,
        file=graph.name,
        description=precision.description,
        gate=judged.gate,
        canary_outputs=canary_outputs.name,
        canary_tolerance=precision.canary_tolerance,
    )
    return _Built(variant, {graph.name: graph, canary_outputs.name: canary_outputs})


def _write(
    export: _Export,
    built: list[_Built],
    out: Path,
    counted: NamedFrames | None,
    photographs: Photographs | None,
) -> Bundle:
    """Add the report, the limits of abstention and the card, and write the bundle."""
    experiment, scratch = export.experiment, export.scratch
    variants = [each.variant for each in built]
    files = {name: path for each in built for name, path in each.files.items()}
    report = write_report(experiment, scratch / "report")
    files |= {path.name: path for path in report.files}
    manifest = manifest_fields(
        experiment,
        export.validation,
        export.specs,
        variants,
        name=export.name,
        version=export.version,
        licence=export.licence,
    )
    card = model_card(manifest, experiment.config, report.judgement)
    files[FAMILIARITY_NAME] = scratch / FAMILIARITY_NAME
    evaluated = read_report(experiment, "test") is not None
    abstention = fit_abstention(
        experiment,
        {variant.name: files[variant.file] for variant in variants},
        export.specs,
        files[FAMILIARITY_NAME],
        ledger=export.ledger,
        purpose=f"abstention {export.name} {export.version}" if evaluated else None,
        counted=counted,
        photographs=photographs,
    )
    files[MODEL_CARD_NAME] = scratch / MODEL_CARD_NAME
    manifest["abstention"] = abstention
    names = experiment.dermoscopy_names()
    card = with_abstention(card, abstention, name=export.name, version=export.version, dermoscopy=names)
    files[MODEL_CARD_NAME].write_text(with_summary(card, manifest), encoding="utf-8")
    return write_bundle(out, files=files, manifest=manifest)
