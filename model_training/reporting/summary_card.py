"""The model card's first half page: what a clinician needs to know, in plain words."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from service.bundle import (
    Interval,
    MeasuredAbstention,
    NotSure,
    OperatingPoint,
    OutsideAdvice,
    Repeatability,
    Robustness,
)

_TITLE = "## For clinicians"

# Diagnoses that need a referral, named unless the model has a class of them.
_UNKNOWN = ("basal cell carcinoma", "squamous cell carcinoma", "actinic keratosis", "Merkel cell carcinoma")

_SETS: Mapping[str, str] = {
    **{f"isic{year}-{part}": f"the ISIC {year} {part} set" for year in (2016, 2017) for part in ("validation", "test")},
    "isic2017-train, out of fold": "the ISIC 2017 training set, each image judged by a network that had not seen it",
    "not_dermoscopy": "photographs of other things",
}
_PHOTOGRAPHS = "clinical_photographs"
# In the names of the sets of :mod:`model_training.release.outside`.
_OUTSIDE: Mapping[str, str] = {
    "bcc": "basal cell carcinomas",
    "akiec": "actinic keratoses",
    "vasc": "vascular lesions",
    "df": "dermatofibromas",
    _PHOTOGRAPHS: "photographs taken without a dermatoscope",
}
_NUMBERS: Mapping[int, str] = {2: "Two", 3: "Three", 4: "Four", 5: "Five"}
_ABOUT = "## About the model\n"

_SECTION = """\
{title}

**What it does.** It reads one dermoscopic image of one lesion and advises a referral when the probability of
{malignant} reaches a threshold{or_unsure}. Read that advice, not the most probable
diagnosis: where {one} is rare, another diagnosis is nearly always more probable, also where a referral is right.

**What it knows.** {num_classes} diagnoses: {classes}. {of_unknown_role}**It cannot recognise anything
else**{unknown}: every image that gets advice is judged as one of these, and "no referral" rules none of the others
out.{outside}

**How good it is.** {performance}

{steadiness}{not_sure}**When it says nothing.** {abstention}

**What it is not.** A medical device. How good it is by skin tone, age, sex or body site was not measured.
"""


def with_summary(card: str, manifest: Mapping[str, Any]) -> str:
    """``card`` with this section after its title, replacing an earlier one; ``manifest`` by its fields."""
    card = re.sub(rf"{_TITLE}\n.*?(?=^## )", "", card, count=1, flags=re.DOTALL | re.MULTILINE)
    title, _, rest = card.partition("\n")
    classes, abstention = manifest["classes"], manifest.get("abstention")
    malignant = [c.label.lower() for c in classes if c.malignant]
    point = next(p for p in manifest["operating_points"] if p.name == manifest["default_operating_point"])
    section = _SECTION.format(
        title=_TITLE,
        malignant=" or ".join(malignant),
        num_classes=_NUMBERS.get(len(classes), str(len(classes))),
        classes=", ".join(c.label.lower() for c in classes),
        one=malignant[0] if len(malignant) == 1 else "each of these",
        of_unknown_role=_of_unknown_role([c.label.lower() for c in classes if c.role == "unknown"]),
        unknown=_unknown({c.name.replace("_", " ") for c in classes}),
        or_unsure=", or when no diagnosis that it knows is likely enough" if manifest.get("not_sure") else "",
        outside=_outside(manifest.get("outside") or (), manifest["default_operating_point"]),
        performance=_performance(point, malignant),
        steadiness=_steadiness(manifest.get("repeatability"), manifest.get("robustness")),
        not_sure=_not_sure(manifest.get("not_sure")),
        abstention=_abstention(abstention.measured if abstention else ()),
    )
    return f"{title}\n\n{section}\n{_ABOUT}\n{_about(rest)}"


def _about(rest: str) -> str:
    return rest.lstrip().removeprefix(_ABOUT).lstrip()


def _of_unknown_role(labels: Sequence[str]) -> str:
    if not labels:
        return ""
    return (
        f"Whether {' or '.join(labels)} is malignant is open: a referral is advised where it is the most probable, and "
        "such lesions are in none of the figures below. "
    )


def _unknown(known: Collection[str]) -> str:
    names = [name for name in _UNKNOWN if name.lower() not in known]
    return f", such as {', '.join(names)}" if names else ""


def _outside(measured: Sequence[OutsideAdvice], point: str) -> str:
    if not measured:
        return ""

    def told(of: OutsideAdvice, share: Interval) -> str:
        count = f"{_interval(share.low, share.high)}; {of.num_images} images"
        return f"{100 * share.value:.0f} of 100 {_OUTSIDE.get(of.name, of.name)} ({count})"

    lesions = [told(of, of.not_referred) for of in measured if of.name != _PHOTOGRAPHS]
    others = [told(of, of.withheld) for of in measured if of.name == _PHOTOGRAPHS]
    said = [f"no referral for {'; '.join(lesions)}"] if lesions else []
    said += [f"no advice on {'; '.join(others)}"] if others else []
    return f" At `{point}`, of images that chose none of its limits, there was {', and '.join(said)}."


def _performance(point: OperatingPoint, malignant: Sequence[str]) -> str:
    found, left = point.sensitivity, point.specificity
    where = f"On {_named(point.measured_on)}" + (
        ", which did not choose the threshold"
        if point.chosen_on
        else ", on which its threshold was chosen, so that this flatters"
    )
    return (
        f"{where}, at `{point.name}`: of 100 lesions with {' or '.join(malignant)} it refers {100 * found.value:.0f} "
        f"({_interval(found.low, found.high)}) and misses {100 * (1 - found.value):.0f}; of 100 others it refers "
        f"{100 * (1 - left.value):.0f} ({_interval(1 - left.high, 1 - left.low)}) for nothing. Intervals are 95 %. "
        f"Such sets hold far more {'melanomas' if list(malignant) == ['melanoma'] else 'malignant lesions'} than a "
        "clinic sees: there, still more of the referrals are of harmless lesions."
    )


def _steadiness(repeats: Repeatability | None, changes: Robustness | None) -> str:
    said = []
    if repeats is not None:
        other = repeats.other_advice
        said.append(
            f"A second image of the same lesion gets the other advice in {100 * other.value:.0f} of 100 cases "
            f"({_interval(other.low, other.high)}; {repeats.num_pairs} pairs of images); the probability differs by "
            f"{100 * repeats.median_change:.0f} percentage points or less in half of them, by more than "
            f"{100 * repeats.percentile_95_change:.0f} in 5 of 100."
        )
    if changes is not None:
        shares = sorted((share.value, name) for name, share in changes.other_advice.items())
        counts = ", ".join(f"{name} {100 * share:.0f}" for share, name in shares)
        said.append(
            f"Of 100 images in {_named(changes.measured_on)}, so many get other advice, or none, when the image "
            f"changes and the lesion does not: {counts}."
        )
    return f"**How steady it is.** {' '.join(said)}\n\n" if said else ""


def _not_sure(rule: NotSure | None) -> str:
    if rule is None:
        return ""
    cost = rule.cost
    return (
        "**When it is not sure.** Where no diagnosis that it knows is likely enough, it advises a referral below the "
        "threshold too, so that lesions of other kinds are missed less often. The figures above include these "
        f"referrals; they are {100 * cost.value:.0f} of 100 harmless lesions ({_interval(cost.low, cost.high)}) in "
        f"{_named(rule.chosen_on)}.\n\n"
    )


def _abstention(measured: Sequence[MeasuredAbstention]) -> str:
    if not measured:
        return "Never: it advises on every image, also on those that show no skin."
    shares = [m for m in measured if m.variant == "fp32"] or measured
    told = "; ".join(
        f"{100 * m.abstained.value:.0f} of 100 in {_named(m.measured_on)} "
        f"({_interval(m.abstained.low, m.abstained.high)}; {m.num_pictures} images)"
        for m in shares
    )
    return (
        "It gives no advice on images that are blurred, too dark, too bright, grey, without a lesion, or unlike "
        f"dermoscopy ({told}). An image that passes is not thereby fit to be judged."
    )


def _named(measured_on: str) -> str:
    """The set in words."""
    name, bracket, size = measured_on.partition(" (")
    return f"{_SETS.get(name, name)}{bracket}{size}"


def _interval(low: float, high: float) -> str:
    return f"{100 * low:.0f} to {100 * high:.0f}"
