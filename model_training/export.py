"""The trained experiment as one ONNX graph, picture in and everything out, in a bundle that passed its gate."""

from __future__ import annotations

import copy
import json
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from model_training.calibration import operating_points
from model_training.data.frames import FrameSet
from model_training.data.isic import read_set
from model_training.data.tensors import frame_tensor
from model_training.evaluate import temperature
from model_training.experiment import Experiment
from model_training.model_card import INTENDED_USE, LICENCE, model_card
from model_training.network.cin import ClinicalInspiredNetwork, summed_probabilities
from model_training.network.crop import crop
from model_training.network.lesion_area_attention import LesionLocator
from model_training.predictions import read_predictions
from model_training.run_folder import git_commit
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
    write_bundle,
)
from service.imaging import read_picture

OPSET = 20
GRAPH_NAME = "cin-fp32.onnx"

# The gate: ONNX Runtime against PyTorch in float32, both with the weights as the file stores them.
MAX_PROBABILITY_DIFFERENCE = 1e-4
MAX_BOX_DIFFERENCE_PIXELS = 0.5
GATE_BATCHES = (1, 3, 16)

# Smaller tensors (biases, constants of the graph) are not worth two bytes' saving each.
MIN_HALF_PRECISION_SIZE = 1024

CLASSES = {
    "melanoma": DiagnosisClass(name="melanoma", label="Melanoma", malignant=True),
    "seborrheic_keratosis": DiagnosisClass(name="seborrheic_keratosis", label="Seborrheic keratosis", malignant=False),
    "nevus": DiagnosisClass(name="nevus", label="Nevus", malignant=False),
    "benign": DiagnosisClass(name="benign", label="Benign", malignant=False),
    "malignant": DiagnosisClass(name="malignant", label="Malignant (melanoma)", malignant=True),
}

Outputs = dict[str, NDArray[Any]]


class GateError(ValueError):
    """The exported graph does not give what the network gives; no bundle was written."""


class DeployedCIN(nn.Module):
    """The whole network as the service runs it: uint8 frames ``[B, F, F, 3]`` in, every output of the contract out."""

    def __init__(
        self,
        locator: LesionLocator | None,
        network: ClinicalInspiredNetwork,
        *,
        size: int,
        temperature_N: Tensor,
    ) -> None:
        super().__init__()
        self.locator, self.network, self.size = locator, network, size
        self.temperature: Tensor
        self.register_buffer("temperature", temperature_N)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Outputs in the order of :func:`output_specs`."""
        picture_B3FF = frame_tensor(image)
        if self.locator is not None:
            attention_BSS, box_B4, fraction_B = self.locator(picture_B3FF)
        else:
            fraction_B = picture_B3FF.new_zeros(picture_B3FF.shape[0])
            attention_BSS = picture_B3FF.new_zeros(picture_B3FF.shape[0], self.size, self.size)
            box_B4 = picture_B3FF.new_tensor([0.0, 0.0, 1.0, 1.0]).expand(picture_B3FF.shape[0], 4)
        branches = self.network.diagnose(crop(picture_B3FF, box_B4, self.size))
        logits_BNK = torch.stack([branch.logits_BK for branch in branches], dim=1)
        probabilities_BK, branch_BNK = summed_probabilities(logits_BNK, self.temperature)
        attention_uint8 = (attention_BSS * 255.0).round().to(torch.uint8)
        outputs = [probabilities_BK, branch_BNK, attention_uint8, box_B4, fraction_B]
        maps = [
            (b.spatial_BCHW.mean(dim=1), b.correlation_BMM)
            for b in branches
            if b.spatial_BCHW is not None and b.correlation_BMM is not None
        ]
        if maps:
            outputs += [torch.stack([m[0] for m in maps], dim=1), torch.stack([m[1] for m in maps], dim=1)]
        return tuple(outputs)


def output_specs(*, num_classes: int, size: int, with_feature_attention: bool) -> list[TensorSpec]:
    """The graph's outputs, in order."""
    side = size // 32
    specs = [
        ("probabilities", "float32", [num_classes], "mean of both branches' probabilities; sums to 1"),
        ("branch_probabilities", "float32", [2, num_classes], "calibrated softmax of each branch"),
        ("lesion_attention", "uint8", [size, size], "lesion area attention over the whole picture, 0 to 255"),
        ("crop_box", "float32", [4], "x0, y0, x1, y1 as fractions of the whole picture"),
        (
            "lesion_fraction",
            "float32",
            [],
            "the lesion's share of the picture; 0: none found, whole picture used",
        ),
    ]
    if with_feature_attention:
        specs += [
            (
                "spatial_attention",
                "float32",
                [2, side, side],
                "Q of Eqn 1, mean over channels, in the crop's frame",
            ),
            ("correlation_attention", "float32", [2, side**2, side**2], "P of Eqn 2, in the crop's frame"),
        ]
    return [TensorSpec(name=n, dtype=t, shape=["batch", *s], meaning=m) for n, t, s, m in specs]


def deployed_network(experiment: Experiment, num_classes: int) -> DeployedCIN:
    """The experiment's finished network with its temperatures, batch normalisation folded, ready to be exported."""
    network = DeployedCIN(
        experiment.locator(),
        experiment.recognition_network(num_classes),
        size=experiment.config.network.size,
        temperature_N=temperature(experiment),
    )
    network.network.distinguish = None  # the training phase's module
    fold_batch_norms(network)
    return network.eval().requires_grad_(False)


def fold_batch_norms(module: nn.Module) -> None:
    """Fold every BatchNorm2d into the Conv2d registered right before it, in evaluation mode, in place."""
    previous: tuple[str, nn.Module] | None = None
    for name, child in list(module.named_children()):
        if isinstance(child, nn.BatchNorm2d) and previous is not None and isinstance(previous[1], nn.Conv2d):
            setattr(module, previous[0], fuse_conv_bn_eval(previous[1].eval(), child.eval()))
            setattr(module, name, nn.Identity())
        else:
            fold_batch_norms(child)
        previous = (name, child)


def round_weights(module: nn.Module) -> None:
    """Round the weights to what float16 can hold, in place; they stay float32 tensors."""
    for parameter in module.parameters():
        if parameter.numel() >= MIN_HALF_PRECISION_SIZE:
            parameter.data = parameter.data.half().float()


def export_graph(network: DeployedCIN, path: Path, *, frame_size: int, specs: list[TensorSpec]) -> None:
    """Write the network as one ONNX file with a dynamic batch and its large weights stored as float16."""
    example = torch.zeros(2, frame_size, frame_size, 3, dtype=torch.uint8)
    program = torch.onnx.export(
        network,
        (example,),
        input_names=["image"],
        output_names=[spec.name for spec in specs],
        dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
        opset_version=OPSET,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    store_half_precision(model)
    onnx.checker.check_model(model, full_check=True)
    onnx.save_model(model, path)


def store_half_precision(model: onnx.ModelProto) -> None:
    """Store large float32 weights as float16, where that loses nothing, behind a cast that is folded at load time."""
    casts = []
    for weight in model.graph.initializer:
        if weight.data_type != TensorProto.FLOAT or np.prod(weight.dims) < MIN_HALF_PRECISION_SIZE:
            continue
        values = numpy_helper.to_array(weight)
        halved = values.astype(np.float16)
        if not np.array_equal(halved.astype(np.float32), values):
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(halved, f"{name}_float16"))
        casts.append(helper.make_node("Cast", [f"{name}_float16"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def run_torch(network: DeployedCIN, frames: NDArray[np.uint8], specs: list[TensorSpec], batch: int) -> Outputs:
    """Every output for every frame, from PyTorch."""
    with torch.inference_mode():
        parts = [network(torch.from_numpy(np.array(frames[i : i + batch]))) for i in range(0, len(frames), batch)]
    return {spec.name: torch.cat([p[k] for p in parts]).numpy() for k, spec in enumerate(specs)}


def run_onnx(path: Path, frames: NDArray[np.uint8], specs: list[TensorSpec], batch: int) -> Outputs:
    """Every output for every frame, from ONNX Runtime on the CPU."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [spec.name for spec in specs]
    parts = [session.run(names, {"image": frames[i : i + batch]}) for i in range(0, len(frames), batch)]
    return {name: np.concatenate([p[k] for p in parts]) for k, name in enumerate(names)}


@dataclass(frozen=True)
class Parity:
    """How far ONNX Runtime is from PyTorch on the same frames."""

    num_pictures: int
    max_probability_difference: float
    diagnoses_changed: int
    max_box_difference_pixels: float

    @property
    def passed(self) -> bool:
        """Whether the graph may be shipped."""
        return (
            self.max_probability_difference <= MAX_PROBABILITY_DIFFERENCE
            and self.diagnoses_changed == 0
            and self.max_box_difference_pixels <= MAX_BOX_DIFFERENCE_PIXELS
        )


def compare(reference: Outputs, other: Outputs, *, size: int) -> Parity:
    """Compare outputs picture by picture; boxes in pixels of a picture of ``size``."""
    differences = [np.abs(reference[n] - other[n]).max() for n in ("probabilities", "branch_probabilities")]
    changed = reference["probabilities"].argmax(axis=1) != other["probabilities"].argmax(axis=1)
    box_difference = np.abs(reference["crop_box"] - other["crop_box"]).max() * size
    return Parity(len(changed), float(max(differences)), int(changed.sum()), float(box_difference))


def export_bundle(experiment: Experiment, out: Path, *, name: str, version: str) -> Bundle:
    """Export, hold against PyTorch on the whole validation set, and write the bundle.

    Needs both stages finished and the validation split evaluated; the test figures go into the card when they exist.
    Raises :class:`GateError`, and writes nothing, when the graph differs from the network by more than the gate allows.
    """
    check_target(out)
    config = experiment.config
    pictures = experiment.frames(config.data.validation)
    specs = output_specs(
        num_classes=len(pictures.classes),
        size=config.network.size,
        with_feature_attention=config.network.lesion_feature_attention,
    )
    trained = deployed_network(experiment, len(pictures.classes))
    network = copy.deepcopy(trained)
    round_weights(network)
    frames = np.asarray(pictures.frames)
    with tempfile.TemporaryDirectory() as scratch:
        graph = Path(scratch) / GRAPH_NAME
        with experiment.console.status("exporting the graph"):
            export_graph(network, graph, frame_size=config.data.frame_size, specs=specs)
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
        manifest = _manifest(experiment, pictures, specs, variant, name=name, version=version)
        card = Path(scratch) / MODEL_CARD_NAME
        card.write_text(model_card(manifest, config), encoding="utf-8")
        return write_bundle(out, files={**files, MODEL_CARD_NAME: card}, manifest=manifest)


def _write_canary(
    experiment: Experiment, pictures: FrameSet, network: DeployedCIN, specs: list[TensorSpec], folder: Path
) -> dict[str, Path]:
    """The first validation picture as it came, and what the network gives for it."""
    sample = read_set(experiment.data, pictures.name, allow_missing=True).samples[0]
    picture, expected = folder / CANARY_PICTURE_NAME, folder / CANARY_OUTPUTS_NAME
    picture.write_bytes(sample.picture.read_bytes())
    frame = read_picture(picture.read_bytes(), experiment.config.data.frame_size).frame
    outputs: dict[str, Any] = run_torch(network, frame[None], specs, batch=1)
    np.savez_compressed(expected, **outputs)
    return {CANARY_PICTURE_NAME: picture, CANARY_OUTPUTS_NAME: expected}


def _manifest(
    experiment: Experiment,
    pictures: FrameSet,
    specs: list[TensorSpec],
    variant: Variant,
    *,
    name: str,
    version: str,
) -> dict[str, Any]:
    config = experiment.config
    classes = [CLASSES[c] for c in pictures.classes]
    _, probabilities = read_predictions(experiment.folder / "evaluation/validation/predictions.csv", pictures.classes)
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
    resolved = {stage: run.read_json("config.json") for stage, run in stages.items()}
    for fields in resolved.values():
        fields.pop("start")  # a path of the training machine; the start's name is in the manifest
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
        "variants": [variant],
        "temperature": temperature(experiment).tolist(),
        "operating_points": points,
        "default_operating_point": "balanced",
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


def _reported_metrics(experiment: Experiment) -> dict[str, dict[str, float]]:
    """The figures of every split that was evaluated, by the name of its set."""
    found = {}
    for split in ("validation", "test"):
        folder = experiment.folder / "evaluation" / split
        if (folder / "report.json").is_file():
            report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
            found[report["set"]] = report["metrics"]
    return found
