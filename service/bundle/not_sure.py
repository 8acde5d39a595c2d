"""The "not sure" rule: refer when no class is likely enough. (Giving no advice is :mod:`service.bundle.abstention`.)

It is for lesions outside the classes, such as a basal cell carcinoma. Their features are often close to those of the
training images, so the probability of the likeliest class shows them better than the feature distance does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from service.bundle.base import Interval, Record


class NotSure(Record):
    """When a referral is advised regardless of the malignant probability."""

    least_probability: float = Field(
        gt=0,
        lt=1,
        description="of the likeliest class, at the prevalence of the bundle; below it a referral is advised",
    )
    chosen_on: str = Field(examples=["isic2017-train, out of fold (2000 pictures)"], description="set that chose it")
    cost: Interval = Field(description="share of that set's benign pictures that are referred by this rule alone")


def is_unsure(probabilities_NK: ArrayLike, rule: NotSure | None) -> NDArray[np.bool_]:
    """Whether no class is likely enough, ``[N]``, for probabilities ``[N, K]``; without a rule, all False."""
    largest_N = np.asarray(probabilities_NK).max(axis=-1)
    return np.asarray(largest_N < (0.0 if rule is None else rule.least_probability))
