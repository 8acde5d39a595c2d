"""When to refer: at the threshold of the malignant probability, and when no class is likely enough ("not sure").

The second limit is for lesions outside the classes, such as a basal cell carcinoma. Their features are often close to
those of the training images, so the probability of the likeliest class shows them better than the feature distance
does. Where the likeliest class is one of unknown role ("other lesions"), none of the known diagnoses is likely enough
either. (Giving no advice is :mod:`service.bundle.abstention`.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from service.bundle.base import Interval, Record
from service.bundle.classes import DiagnosisClass


class NotSure(Record):
    """When a referral is advised regardless of the malignant probability."""

    least_probability: float = Field(
        gt=0,
        lt=1,
        description="of the likeliest class, at the prevalence of the bundle; below it a referral is advised",
    )
    chosen_on: str = Field(examples=["isic2017-train, out of fold (2000 images)"], description="set that chose it")
    cost: Interval = Field(description="share of that set's benign images that are referred by this rule alone")


def is_unsure(
    probabilities_NK: ArrayLike, rule: NotSure | None, classes: Sequence[DiagnosisClass]
) -> NDArray[np.bool_]:
    """Whether no class is likely enough, or the likeliest has an unknown role, ``[N]``, for probabilities ``[N, K]``.

    Without a rule, only the latter counts.
    """
    probabilities = np.asarray(probabilities_NK)
    unknown_K = np.array([each.role == "unknown" for each in classes])
    least = 0.0 if rule is None else rule.least_probability
    return np.asarray((probabilities.max(axis=-1) < least) | unknown_K[probabilities.argmax(axis=-1)])


def log_odds(probability: ArrayLike) -> NDArray[np.float64]:
    """ln(p / (1 - p)), clipped to stay finite at 0 and 1, within the precision of float32."""
    p = np.asarray(probability, dtype=np.float64).clip(1e-7, 1 - 1e-7)
    return np.asarray(np.log(p / (1 - p)))


def referral_margins(
    probabilities_NK: ArrayLike,
    threshold: float,
    rule: NotSure | None,
    classes: Sequence[DiagnosisClass],
    *,
    scale: Callable[[ArrayLike], NDArray[np.float64]] = log_odds,
) -> NDArray[np.float64]:
    """How far each answer is beyond the threshold and beyond "not sure", ``[N, 2]``, in units of ``scale``.

    An answer is referred if the first is at least 0 or the second above 0.
    """
    probabilities = np.asarray(probabilities_NK, dtype=np.float64)
    malignant_K, unknown_K = (np.array([each.role == role for each in classes]) for role in ("malignant", "unknown"))
    reached = scale(probabilities[..., malignant_K].sum(axis=-1)) - scale(threshold)
    unsure = np.full_like(reached, -np.inf)
    if rule is not None:
        unsure = np.maximum(unsure, scale(rule.least_probability) - scale(probabilities.max(axis=-1)))
    if unknown_K.any():
        known = probabilities[..., ~unknown_K].max(axis=-1)
        unsure = np.maximum(unsure, scale(probabilities[..., unknown_K].max(axis=-1)) - scale(known))
    return np.stack([reached, unsure], axis=-1)
