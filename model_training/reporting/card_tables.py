"""The figures of a model card as Markdown: tables of a run's judgement, with notes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from model_training.evaluation.calibration import SENSITIVITIES
from model_training.reporting.text import table, with_interval
from service.bundle import Variant


def figures_table(metrics: Mapping[str, Mapping[str, float]]) -> str:
    """Every reported figure (rows) of every set (columns); ``metrics`` are by set."""
    sets = list(metrics)
    names = list(dict.fromkeys(name for figures in metrics.values() for name in figures))
    header = f"| Figure | {' | '.join(sets)} |\n|---|{'---|' * len(sets)}"
    rows = [f"| {n} | {' | '.join(_number(n, metrics[s].get(n)) for s in sets)} |" for n in names]
    return "\n".join([header, *rows])


def rare_class_note(metrics: Mapping[str, Mapping[str, float]], malignant: Sequence[str]) -> str:
    """A warning if a ``malignant`` class is seldom that of highest probability on the last set; else empty."""
    name, figures = list(metrics.items())[-1]
    told = [
        f"{task.replace('_', ' ')} is the class of highest probability for {figures[key]:.0%} of its images in `{name}`"
        for task in malignant
        if (key := f"{task}_sensitivity_argmax") in figures and figures[key] < 0.5
    ]
    if not told:
        return ""
    sentence = "; ".join(told)
    sentence = sentence[0].upper() + sentence[1:]
    return (
        f"\n**{sentence}**: where a class is rare, another one is nearly always likelier. Whether somebody should look "
        "closer is what the operating points are for, not the class of highest probability.\n"
    )


def _number(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if name.startswith("num_") else f"{value:.3f}"


def discrimination_table(judgement: Mapping[str, Any]) -> str:
    """AUC and AP of each scored class, with intervals."""
    rows = [
        [task.replace("_", " "), name, with_interval(figures["auc"]), with_interval(figures["ap"])]
        for name, judged in judgement.items()
        for task, figures in judged["discrimination"].items()
    ]
    return table(["Class against the rest", "Set", "AUC", "AP"], rows)


def class_pairs_table(judgement: Mapping[str, Any]) -> str:
    """The AUC of each malignant class against each other one, on the images of these two."""
    rows = [
        [" against ".join(map(_words, pair["classes"])), name, with_interval(pair["auc"])]
        for name, judged in judgement.items()
        for pair in judged["class_pairs"]
    ]
    return table(["Class against one other", "Set", "AUC"], rows)


def referred_table(judgement: Mapping[str, Any]) -> str:
    """The share of each class's images that is referred at the default point, on each set."""
    shares = [judged["referred"] for judged in judgement.values()]
    rows = [
        [_words(name), *(with_interval(of[name]) if name in of else "-" for of in shares)]
        for name in dict.fromkeys(name for of in shares for name in of)
    ]
    return table(["Referred", *judgement], rows)


def groups_table(judgement: Mapping[str, Any]) -> str:
    """The figures of each group of images; a dash where a group lacks malignant or benign lesions."""
    rows = [
        [
            group,
            name,
            f"{figures['num_images']} ({figures['num_malignant']})",
            *(with_interval(figures[key]) if key in figures else "-" for key in ("auc", "sensitivity", "specificity")),
        ]
        for name, judged in judgement.items()
        for group, figures in judged["groups"].items()
    ]
    return table(["Images", "Set", "Number (malignant)", "AUC", "Sensitivity", "Specificity"], rows)


def group_notes(judgement: Mapping[str, Any]) -> str:
    """The groups of the first set whose sensitivity is shown to be below that of the whole set."""
    name, judged = next(iter(judgement.items()))
    whole = judged["operating_points"][0]["sensitivity"]["value"]
    low = [
        f'{figures["sensitivity"]["value"]:.3f} for "{group}"'
        for group, figures in judged["groups"].items()
        if "sensitivity" in figures and figures["sensitivity"]["high"] < whole
    ]
    return f"\n**On `{name}` the sensitivity is {', '.join(low)}, {whole:.3f} for all.**\n" if low else ""


def _words(name: str) -> str:
    return name.replace("_", " ")


def operating_points_table(judgement: Mapping[str, Any]) -> str:
    """Sensitivity and specificity of each operating point on each set."""
    rows = [
        [p["name"], f"{p['threshold']:.4f}", name, with_interval(p["sensitivity"]), with_interval(p["specificity"])]
        for name, judged in judgement.items()
        for p in judged["operating_points"]
    ]
    return table(["Name", "Threshold", "Set", "Sensitivity", "Specificity"], rows)


def operating_point_notes(judgement: Mapping[str, Any]) -> str:
    """Notes on operating points with equal thresholds, and on those that miss the sensitivity they were chosen for."""
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


def predictive_values_table(judged: Mapping[str, Any]) -> str:
    """Positive and negative predictive values of each operating point by prevalence, on one set."""
    points = judged["operating_points"]
    rows = []
    for i, first in enumerate(points[0]["predictive_values"]):
        at = [point["predictive_values"][i] for point in points]
        share = f"{first['prevalence']:.1%}"
        if first["prevalence"] == judged["prevalence"]:
            share += " (this set)"
        rows.append([share, *(f"{with_interval(v['positive'])} / {with_interval(v['negative'])}" for v in at)])
    return table(["Prevalence", *(point["name"] for point in points)], rows)


def specificities_table(judgement: Mapping[str, Any]) -> str:
    """The specificity at given sensitivities, on each set."""
    asked = list(next(iter(judgement.values()))["specificity_at_sensitivity"])
    rows = [
        [name, *(with_interval(judged["specificity_at_sensitivity"][se]) for se in asked)]
        for name, judged in judgement.items()
    ]
    return table(["Set", *(f"SE {se}" for se in asked)], rows)


def calibration_table(judgement: Mapping[str, Any]) -> str:
    """Calibration errors and Brier score before and after calibration, on each set."""
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


def prevalence_note(shares: Mapping[str, float]) -> str:
    """The class prevalence that the probabilities are calibrated for."""
    mix = ", ".join(f"{name.replace('_', ' ')} {share:.1%}" for name, share in shares.items())
    return f"The probabilities hold where lesions are mixed as here: {mix}. Elsewhere they have to be converted."


def error_prediction_note(judgement: Mapping[str, Any]) -> str:
    """Whether the branches' disagreement predicts errors better than 1 - max p, according to the interval."""
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


def gate_list(variants: Sequence[Variant]) -> str:
    """The figures of each variant's gate, one line per variant."""
    return "\n".join(f"- {variant.name}: {', '.join(map(_gate_figure, variant.gate.items()))}" for variant in variants)


def _gate_figure(item: tuple[str, float | int | str | bool]) -> str:
    name, value = item
    return f"{name} {value:.2g}" if isinstance(value, float) else f"{name} {value}"
