"""The model card that travels in the bundle, written from the manifest's own figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from model_training.config import Config

LICENCE = "Apache-2.0"
INTENDED_USE = (
    "Research on dermoscopic still pictures of one pigmented skin lesion. Not a medical device: not for diagnosis, "
    "triage or treatment decisions."
)

_CARD = """\
# {name} {version}

The Clinical-Inspired Network (Liu et al., MICCAI 2020): lesion area attention, ResNet18 features in two branches,
lesion feature attention; trained with the distinguish module. {licence}.

**Intended use.** {intended_use}

**Not covered.** Clinical (non-dermoscopic) photographs, several lesions in one picture, mucosa and nails, diagnoses
other than {classes}. Every picture gets one of these, also one that shows none of them. Skin tone, age and site were
not recorded in the training labels, so performance by group is unknown. The challenge sets hold far more melanomas
than a clinic sees: predictive values do not carry over.

## Data

Trained on `{train}`, temperatures and thresholds chosen on `{validation}`, reported once on `{test}`.
Input source: {source}
Start of the weights: {start}.

## Training

Modules: {modules}. Network input {size} x {size} pixels, cut from frames of {frame} x {frame}; lesion area attention
at {area} x {area}. First stage {area_epochs} epochs, second stage {epochs} epochs of {batch} random pairs
({optimiser}, {schedule}), lambda {distinguish_weight}, seed {seed}. Code at commit `{commit}`.

## Figures

Summed probability of both branches, temperatures {temperature}. `argmax`: the class of highest probability;
`half`: probability above 0.5, as the challenge scores it. Measured in PyTorch with the weights as trained; the gate
below says how little their rounding to float16 for this bundle changes.

{figures}

## Operating points

A picture is referred when the summed probability of the malignant classes reaches the threshold.
Intervals are 95 % (Wilson).

| Name | Threshold | Sensitivity | Specificity | Measured on |
|---|---|---|---|---|
{points}

The thresholds were chosen on the pictures they were measured on, so these figures flatter.

## Export gate

{gate}
"""


def model_card(manifest: Mapping[str, Any], config: Config) -> str:
    """The text of ``MODEL_CARD.md`` for a bundle with these manifest fields."""
    network, second = config.network, config.recognition
    provenance = manifest["provenance"]
    switches = {
        "lesion area attention (A)": network.lesion_area_attention,
        f"lesion feature attention (F, {network.attention})": network.lesion_feature_attention,
        "distinguish module (D)": network.distinguish,
        f"{network.branches} branches": True,
    }
    return _CARD.format(
        name=manifest["name"],
        version=manifest["version"],
        licence=manifest["licence"],
        intended_use=manifest["intended_use"],
        classes=", ".join(c.label.lower() for c in manifest["classes"]),
        train=config.data.train,
        validation=config.data.validation,
        test=config.data.test,
        source=_input_source(config),
        start=provenance.start,
        modules=", ".join(name for name, on in switches.items() if on),
        size=network.size,
        frame=config.data.frame_size,
        area=network.area_size,
        area_epochs=config.area.epochs,
        epochs=second.epochs,
        batch=second.batch_size,
        optimiser=second.optimiser,
        schedule=second.schedule,
        distinguish_weight=second.distinguish_weight,
        seed=config.seed,
        commit=provenance.git_commit,
        temperature=", ".join(f"{t:.3f}" for t in manifest["temperature"]),
        figures=_figures(provenance.metrics),
        points="\n".join(_point_row(point) for point in manifest["operating_points"]),
        gate="\n".join(f"- {v.name}: {_gate_text(v.gate)}" for v in manifest["variants"]),
    )


def _input_source(config: Config) -> str:
    size, quality = config.data.frame_size, config.data.copies_jpeg_quality
    detail = "Detail finer than that was never seen, in training or in use, however large the original."
    if quality is None:
        return f"the originals, squashed to {size} x {size} pixels when read. {detail}"
    return (
        f"copies of the pictures squashed to {size} x {size} pixels and stored as JPEG of quality {quality}, not the "
        f"originals. {detail} The service squashes and compresses larger pictures likewise."
    )


def _figures(metrics: Mapping[str, Mapping[str, float]]) -> str:
    sets = list(metrics)
    names = list(dict.fromkeys(name for figures in metrics.values() for name in figures))
    header = f"| Figure | {' | '.join(sets)} |\n|---|{'---|' * len(sets)}"
    rows = [f"| {n} | {' | '.join(_number(n, metrics[s].get(n)) for s in sets)} |" for n in names]
    return "\n".join([header, *rows])


def _number(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if name.startswith("num_") else f"{value:.3f}"


def _point_row(point: Any) -> str:
    rates = [f"{r.value:.3f} ({r.low:.3f} to {r.high:.3f})" for r in (point.sensitivity, point.specificity)]
    return f"| {point.name} | {point.threshold:.4f} | {rates[0]} | {rates[1]} | {point.measured_on} |"


def _gate_text(gate: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {value:.2g}" if isinstance(value, float) else f"{name} {value}" for name, value in gate.items()
    )
