"""Variants of lower precision than float32, and the gate that each must pass on whole sets of images."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model_training.arrays import Indices
from model_training.data.frames import FrameSet
from model_training.evaluation.evaluate import read_report
from model_training.evaluation.predictions import scored_classes
from model_training.evaluation.test_ledger import record_reading
from model_training.files import write_json
from model_training.metrics import box_iou, class_aucs
from model_training.release.fp16 import halve
from model_training.release.int8 import NUM_CALIBRATION, quantise
from model_training.release.parity import Outputs, Provider, run_onnx, usable
from model_training.training.experiment import Experiment
from service.bundle import TensorSpec

# The largest allowed differences from float32 on any set.
MAX_AUC_DIFFERENCE = 0.003
MAX_DIAGNOSES_CHANGED = 0.005
MIN_BOX_IOU = 0.98


@dataclass(frozen=True)
class Fidelity:
    """How much a variant's answers on a whole set differ from float32's."""

    num_pictures: int
    # Throughput on single images, relative to float32.
    speed: float
    max_auc_difference: float
    diagnoses_changed: float
    mean_box_iou: float

    @property
    def passed(self) -> bool:
        """Whether the variant may be shipped."""
        return (
            self.max_auc_difference <= MAX_AUC_DIFFERENCE
            and self.diagnoses_changed <= MAX_DIAGNOSES_CHANGED
            and self.mean_box_iou >= MIN_BOX_IOU
        )


def compare_variants(
    reference: Outputs, other: Outputs, labels: Indices, scored: Sequence[int], *, speed: float
) -> Fidelity:
    """Compare a variant's outputs with float32's; ``scored`` are the classes whose one-against-rest AUC counts."""
    aucs = [class_aucs(labels, outputs["probabilities"].astype(np.float64), scored) for outputs in (reference, other)]
    differences = np.abs(aucs[0] - aucs[1])
    diagnoses = [outputs["probabilities"].argmax(axis=1) for outputs in (reference, other)]
    boxes = [outputs["crop_box"].astype(np.float64) for outputs in (reference, other)]
    return Fidelity(
        num_pictures=len(labels),
        speed=speed,
        # A set without a class has no AUC for it.
        max_auc_difference=float(np.nanmax(differences, initial=0.0)),
        diagnoses_changed=float((diagnoses[0] != diagnoses[1]).mean()),
        mean_box_iou=float(box_iou(boxes[0], boxes[1]).mean()),
    )


def gate_figures(fidelities: Mapping[str, Fidelity]) -> dict[str, Any]:
    """The gate's figures by set, as the manifest keeps them."""
    figures: dict[str, Any] = {"pictures": ", ".join(f"{name} ({f.num_pictures})" for name, f in fidelities.items())}
    for name, fidelity in fidelities.items():
        figures[f"speed_{name}"] = fidelity.speed
        figures[f"max_auc_difference_{name}"] = fidelity.max_auc_difference
        figures[f"diagnoses_changed_{name}"] = fidelity.diagnoses_changed
        figures[f"mean_box_iou_{name}"] = fidelity.mean_box_iou
    return {**figures, "passed": all(fidelity.passed for fidelity in fidelities.values())}


@dataclass(frozen=True)
class Precision:
    """A precision below float32: how its graph is made, and the provider it is made for."""

    name: Literal["int8", "fp16"]
    description: str
    provider: Provider
    # Writes its graph from the float32 one, calibrated on training frames ``[N, F, F, 3]``.
    convert: Callable[[Path, Path, NDArray[np.uint8]], None]
    # Wider than float32's: a last-digit difference may round a value to its neighbour.
    canary_tolerance: float = 1e-2


PRECISIONS = (
    Precision(
        name="int8",
        description="most convolutions on uint8 activations and int8 weights, for CPUs that multiply those fast",
        provider="cpu",
        convert=quantise,
    ),
    Precision(
        name="fp16",
        description="convolutions in float16, for GPUs; boxes, attention and classifiers in float32",
        provider="cuda",
        convert=lambda float32, out, _: halve(float32, out),
    ),
)


def provider_of(variant: str) -> Provider:
    """The provider that the bundle's variant of this name is made for."""
    return next((precision.provider for precision in PRECISIONS if precision.name == variant), "cpu")


class JudgedGraph(NamedTuple):
    """A graph of lower precision, and the figures of its gate."""

    path: Path
    gate: dict[str, Any]


def convert_and_judge(
    experiment: Experiment,
    precision: Precision,
    float32: Path,
    out: Path,
    specs: Sequence[TensorSpec],
    *,
    ledger: Path,
    purpose: str,
) -> JudgedGraph:
    """Convert the ``float32`` graph and judge it on validation and, if it passes, on a test set that was evaluated.

    ``ledger`` records that reading of the test set with its ``purpose``. The figures are written to
    ``<run>/evaluation/<precision>/gate.json`` whether they pass or not. If the precision's provider is not available,
    the gate fails without figures: a CPU would compute an fp16 graph in float32.
    """
    train, validation = experiment.training_sets()
    chosen = np.random.default_rng(0).permutation(len(train))[:NUM_CALIBRATION]
    with experiment.console.status(f"converting the graph to {precision.name}"):
        precision.convert(float32, out, np.asarray(train.frames)[np.sort(chosen)])
    gate: dict[str, Any] = {"passed": False, "judged_on": f"nothing: no {precision.provider} here"}
    if usable(precision.provider, float32):
        gate = {"judged_on": precision.provider}
        gate |= _judge(experiment, precision, (float32, out), validation, specs, ledger=ledger, purpose=purpose)
    folder = experiment.evaluation(precision.name)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "gate.json", gate)
    return JudgedGraph(out, gate)


def _judge(
    experiment: Experiment,
    precision: Precision,
    graphs: tuple[Path, Path],
    validation: FrameSet,
    specs: Sequence[TensorSpec],
    *,
    ledger: Path,
    purpose: str,
) -> dict[str, Any]:
    """The gate's figures for ``graphs`` (float32, converted) on the provider that the precision is made for."""

    def judge(pictures: FrameSet) -> Fidelity:
        with experiment.console.status(f"judging {precision.name} on {pictures.name}"):
            reference, other, speed = _answers(pictures, graphs, specs, precision.provider)
        return compare_variants(reference, other, pictures.labels, scored_classes(pictures.classes), speed=speed)

    fidelities = {validation.name: judge(validation)}
    # A variant that failed on validation must not cost a reading of the test set.
    if fidelities[validation.name].passed and read_report(experiment, "test") is not None:
        test = experiment.frames(experiment.config.data.test)
        fidelities[test.name] = judge(test)
        figures = {name: value for name, value in gate_figures(fidelities).items() if name.endswith(test.name)}
        weights = experiment.recognition_run.weights_sha256()
        record_reading(ledger, test, purpose=purpose, weights_sha256=weights, metrics=figures)
    return gate_figures(fidelities)


def _answers(
    pictures: FrameSet, graphs: tuple[Path, Path], specs: Sequence[TensorSpec], provider: Provider
) -> tuple[Outputs, Outputs, float]:
    """Both graphs' outputs for every image, and the second one's speed relative to the first."""
    needed = [spec for spec in specs if spec.name in ("probabilities", "crop_box")]
    answers: list[Outputs] = []
    seconds: list[float] = []
    for graph in graphs:
        began = time.perf_counter()
        answers.append(run_onnx(graph, np.asarray(pictures.frames), needed, batch=1, provider=provider))
        seconds.append(time.perf_counter() - began)
    return answers[0], answers[1], seconds[0] / seconds[1]
