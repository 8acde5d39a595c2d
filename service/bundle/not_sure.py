"""The "not sure" rule: refer when no class is likely enough. (Giving no advice is :mod:`service.bundle.abstention`.)

It is for lesions outside the classes, such as a basal cell carcinoma. Their features are often close to those of the
training images, so the probability of the likeliest class shows them better than the feature distance does. Where the
likeliest class is one of unknown role ("other lesions"), none of the known diagnoses is likely enough either.
"""

from __future__ import annotations

from collections.abc import Sequence

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
    chosen_on: str = Field(examples=["isic2017-train, out of fold (2000 pictures)"], description="set that chose it")
    cost: Interval = Field(description="share of that set's benign pictures that are referred by this rule alone")


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
