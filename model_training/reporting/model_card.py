"""The model card that travels in the bundle, written from the manifest's own figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from model_training.config import Config, NetworkConfig
from model_training.evaluation.calibration import SENSITIVITIES
from model_training.evaluation.statistics import NUM_RESAMPLES
from model_training.reporting.text import partitions, table, with_interval

LICENCE = "Apache-2.0"
INTENDED_USE = (
    "Research on dermoscopic still pictures of one pigmented skin lesion. Not a medical device: not for diagnosis, "
    "triage or treatment decisions."
)

_CARD = """\
# {name} {version}

{network} {licence}.

**Intended use.** {intended_use}

**Not covered.** Clinical (non-dermoscopic) photographs, several lesions in one picture, mucosa and nails, diagnoses
other than {classes}. Every picture gets one of these, also one that shows none of them, and
also one that gets no advice. Skin tone, age and site were
not recorded in the training labels, so performance by group is unknown. The challenge sets hold far more melanomas
than a clinic sees: predictive values do not carry over.

## Data

{partitions}
Input source: {source}
Start of the weights: {start}.

## Training

{training} Seed {seed}. Code at commit `{commit}`, exported at `{exported_at}`.

## Figures

{answer}, temperature {temperature}. `argmax`: the class of highest probability;
`half`: probability above 0.5, as the challenge scores it. Measured in PyTorch with the weights as trained; the gate
below says how little their rounding to float16 for this bundle changes. `mean_box_iou` is about the boxes that are
cropped, the margin around the lesion included. Figures on a test set flatter as far as earlier ones were known when
the configuration was chosen: `results/test-ledger.jsonl` beside the code lists every reading, `docs/RESULTS.md` what
came of it.

{figures}
{rare}
With 95 % intervals ({resamples:,} stratified bootstrap resamples):

{discrimination}

![ROC curves](roc.png)
![Precision-recall curves](precision-recall.png)
![Confusion matrices](confusion.png)

## Operating points

A picture is referred when the summed probability of the malignant classes reaches the threshold. `balanced` has the
highest sum of sensitivity and specificity, `high-sensitivity` a sensitivity of at least 0.95, `dermatologist` one of
at least 0.82, the mean of eight dermatologists on pictures of ISBI 2016 (Marchetti et al., 2018). All thresholds were
chosen on `{validation}`, so the figures there flatter. Thresholds and rates are float32's: a variant of less
precision refers some pictures near a threshold otherwise, which its gate does not count. Intervals are 95 % (Wilson).

{points}
{point_notes}
Where melanoma is rarer, referrals are less often right. Positive / negative predictive value by prevalence, with the
rates measured on `{measured_on}`:

{predictive_values}

Highest specificity of any threshold that reaches a sensitivity, by set:

{specificities}

## Calibration

{prevalence}

ECE: mean distance between the highest probability and the accuracy, 15 bins of equal width; by class: between a class's
probability and its frequency, mean over the classes. Brier score: 0 is best, 2 worst. Before and after the
calibration. Its temperatures were fitted on `{validation}`. Intervals are 95 % (bootstrap over the pictures);
resampling makes an ECE larger, so its interval may lie above it.

{calibration}

![Reliability diagrams](reliability.png)

## When not to trust an answer

{error_prediction}

![Risk-coverage curves](risk-coverage.png)

## Export gate

{gate}
"""


def model_card(manifest: Mapping[str, Any], config: Config, judgement: Mapping[str, Any]) -> str:
    """The text of ``MODEL_CARD.md`` for a bundle with these manifest fields and this judgement of its run."""
    provenance = manifest["provenance"]
    train, validation = provenance.data
    return _CARD.format(
        name=manifest["name"],
        version=manifest["version"],
        licence=manifest["licence"],
        intended_use=manifest["intended_use"],
        classes=", ".join(c.label.lower() for c in manifest["classes"]),
        network=_network(config.network),
        partitions=partitions(train, validation, judgement),
        validation=validation,
        source=_input_source(config),
        start=provenance.start,
        training=_training(config),
        seed=config.seed,
        answer=_answer(config.network),
        resamples=NUM_RESAMPLES,
        commit=provenance.git_commit,
        exported_at=provenance.config["export"]["git_commit"],
        temperature=", ".join(f"{t:.3f}" for t in manifest["temperature"]),
        figures=_figures(provenance.metrics),
        rare=_rare(provenance.metrics),
        discrimination=_discrimination(judgement),
        points=_points(judgement),
        point_notes=_point_notes(judgement),
        measured_on=list(judgement)[-1],
        predictive_values=_predictive_values(list(judgement.values())[-1]),
        specificities=_specificities(judgement),
        calibration=_calibration(judgement),
        prevalence=_prevalence(manifest["prevalence"]),
        error_prediction=_error_prediction(judgement),
        gate="\n".join(f"- {v.name}: {_gate_text(v.gate)}" for v in manifest["variants"]),
    )


_FEATURES = {
    "resnet18": "ResNet18",
    "resnet50": "ResNet50",
    "attention-resnet18": "ResNet18 with attention residual blocks",
}


def _network(network: NetworkConfig) -> str:
    """What kind of network this is; only the whole one goes by the paper's name."""
    modules = []
    if network.lesion_area_attention:
        modules.append("lesion area attention")
    if network.lesion_feature_attention:
        modules.append(f"lesion feature attention ({network.attention})")
    if network.distinguish:
        of_sdl = network.distinguish_form == "synergic"
        modules.append("three linear layers that compare pairs" if of_sdl else "distinguish module")
    whole = len(modules) == 3 and network.distinguish_form == "convolutional"
    name = "The Clinical-Inspired Network (Liu et al., MICCAI 2020)"
    if len(modules) == 2 and not network.distinguish and network.branches == "separate":
        name += ", trained without its distinguish module"
    elif not whole:
        name = f"A classifier from the experiments on {name[0].lower()}{name[1:]}"
    branches = {"separate": "two branches", "shared": "two branches with shared weights", "single": "one branch"}
    return f"{name}: {_FEATURES[network.features]} features in {branches[network.branches]}; modules: " + (
        f"{', '.join(modules) or 'none'}."
    )


def _training(config: Config) -> str:
    network, first, second = config.network, config.area, config.recognition
    text = (
        f"Network input {network.size} x {network.size} pixels, cut from frames of {config.data.frame_size} x "
        f"{config.data.frame_size}"
    )
    if network.lesion_area_attention:
        text += (
            f"; lesion area attention at {network.area_size} x {network.area_size}, trained for {first.epochs} epochs"
        )
        text += f"; crops of the lesion with {network.crop_margin:g} of its width and height added on each side"
    examples = "pictures" if network.branches == "single" else f"{second.pairs} pairs"
    if network.branches != "single" and not network.distinguish:
        examples += " (a picture for each branch, never compared)"
    text += (
        f". {second.epochs} epochs of batches of {second.batch_size} {examples} under {second.augmentation} "
        f"augmentation ({second.optimiser}, learning rate {second.learning_rate:g}, {second.schedule}"
        f"{_PRECISIONS[config.precision]})"
    )
    return text + (f", lambda {second.distinguish_weight:g}." if network.distinguish else ".")


_PRECISIONS = {"auto": "", "32-true": ", float32", "bf16-mixed": ", bfloat16 mixed with float32"}


def _answer(network: NetworkConfig) -> str:
    return "Probability of the one branch" if network.branches == "single" else "Summed probability of both branches"


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


def _rare(metrics: Mapping[str, Mapping[str, float]]) -> str:
    """What the class of highest probability is not good for."""
    name, figures = list(metrics.items())[-1]
    told = [
        f"{task} is the class of highest probability for {figures[key]:.0%} of its pictures in `{name}`"
        for task in ("melanoma", "malignant")
        if (key := f"{task}_sensitivity_argmax") in figures and figures[key] < 0.5
    ]
    if not told:
        return ""
    sentence = told[0][0].upper() + told[0][1:]
    return (
        f"\n**{sentence}**: where a class is rare, another one is nearly always likelier. Whether somebody should look "
        "closer is what the operating points are for, not the class of highest probability.\n"
    )


def _number(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if name.startswith("num_") else f"{value:.3f}"


def _discrimination(judgement: Mapping[str, Any]) -> str:
    rows = [
        [task.replace("_", " "), name, with_interval(figures["auc"]), with_interval(figures["ap"])]
        for name, judged in judgement.items()
        for task, figures in judged["discrimination"].items()
    ]
    return table(["Class against the rest", "Set", "AUC", "AP"], rows)


def _points(judgement: Mapping[str, Any]) -> str:
    rows = [
        [p["name"], f"{p['threshold']:.4f}", name, with_interval(p["sensitivity"]), with_interval(p["specificity"])]
        for name, judged in judgement.items()
        for p in judged["operating_points"]
    ]
    return table(["Name", "Threshold", "Set", "Sensitivity", "Specificity"], rows)


def _point_notes(judgement: Mapping[str, Any]) -> str:
    """What the table hides: points that are one and the same, and points that do not keep what they were chosen for."""
    chosen = next(iter(judgement.values()))["operating_points"]
    notes = [
        f"- `{point['name']}` and `{other['name']}` are the same threshold here."
        for i, point in enumerate(chosen)
        for other in chosen[i + 1 :]
        if other["threshold"] == point["threshold"]
    ]
    for name, judged in judgement.items():
        for point in judged["operating_points"]:
            aim, found = SENSITIVITIES.get(point["name"], 0.0), point["sensitivity"]
            if found["value"] < aim:
                kept = f"has {with_interval(found)} on `{name}`"
                notes.append(f"- `{point['name']}` was chosen for a sensitivity of {aim:g} and {kept}.")
    return "\n".join(["", *notes, ""]) if notes else ""


def _predictive_values(judged: Mapping[str, Any]) -> str:
    points = judged["operating_points"]
    rows = []
    for i, first in enumerate(points[0]["predictive_values"]):
        at = [point["predictive_values"][i] for point in points]
        share = f"{first['prevalence']:.1%}"
        if first["prevalence"] == judged["prevalence"]:
            share += " (this set)"
        rows.append([share, *(f"{with_interval(v['positive'])} / {with_interval(v['negative'])}" for v in at)])
    return table(["Prevalence", *(point["name"] for point in points)], rows)


def _specificities(judgement: Mapping[str, Any]) -> str:
    asked = list(next(iter(judgement.values()))["specificity_at_sensitivity"])
    rows = [
        [name, *(with_interval(judged["specificity_at_sensitivity"][se]) for se in asked)]
        for name, judged in judgement.items()
    ]
    return table(["Set", *(f"SE {se}" for se in asked)], rows)


def _calibration(judgement: Mapping[str, Any]) -> str:
    rows = [
        [
            name,
            when,
            *(with_interval(figures[measure]) for measure in _CALIBRATION),
        ]
        for name, judged in judgement.items()
        for when, figures in judged["calibration"].items()
    ]
    return table(["Set", "Calibration", *_CALIBRATION.values()], rows)


_CALIBRATION = {
    "calibration_error": "ECE",
    "calibration_error_equal_mass": "ECE, bins of equal size",
    "classwise_calibration_error": "ECE by class",
    "brier_score": "Brier score",
}


def _prevalence(shares: Mapping[str, float]) -> str:
    mix = ", ".join(f"{name.replace('_', ' ')} {share:.1%}" for name, share in shares.items())
    return f"The probabilities hold where lesions are mixed as here: {mix}. Elsewhere they have to be converted."


def _error_prediction(judgement: Mapping[str, Any]) -> str:
    """Which sign tells errors from right answers: said as the interval allows."""
    sentences = []
    for name, judged in judgement.items():
        found = judged["error_prediction"]
        if found is None:
            return "Both branches are one network here, so they cannot disagree; 1 - max p is the only sign of doubt."
        gain = found["gain"]
        if gain["low"] > 0:
            verdict = "predicts errors better than 1 - max p"
        elif gain["high"] < 0:
            verdict = "predicts errors worse than 1 - max p"
        else:
            verdict = "is not shown to predict errors better or worse than 1 - max p"
        sentences.append(
            f"- On `{name}` the branches' disagreement {verdict}: area under the risk-coverage curve "
            f"{found['area_by_disagreement']:.3f} against {found['area_by_probability']:.3f}, gain "
            f"{gain['value']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}]."
        )
    return "\n".join(sentences)


def _gate_text(gate: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {value:.2g}" if isinstance(value, float) else f"{name} {value}" for name, value in gate.items()
    )
