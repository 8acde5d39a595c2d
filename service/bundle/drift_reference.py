"""Drift reference: the distribution of the probabilities on a known image set."""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field, model_validator

from service.bundle.base import Record

# Edges of the service's histogram of probabilities; intervals include their upper edge. A reference uses some.
PROBABILITY_EDGES = tuple(i / 20 for i in range(21))

# With smaller shares, a drift index of a few hundred images is mostly noise.
_LEAST_SHARE = 0.1


class Histogram(Record):
    """Share of the images in each interval ``(edge, next edge]``; the first includes 0."""

    edges: list[float] = Field(description="rising, from 0 to 1")
    shares: list[float] = Field(description="between each edge and the next; sums to 1")

    @model_validator(mode="after")
    def _is_a_histogram(self) -> Histogram:
        if len(self.edges) != len(self.shares) + 1 or (self.edges[0], self.edges[-1]) != (0.0, 1.0):
            raise ValueError("a histogram has one edge more than shares, from 0 to 1")
        if any(low >= high for low, high in itertools.pairwise(self.edges)) or set(self.edges) - set(PROBABILITY_EDGES):
            raise ValueError("edges rise, in steps of a multiple of 0.05")
        if min(self.shares) <= 0.0 or not math.isclose(sum(self.shares), 1.0, abs_tol=1e-6):
            raise ValueError("shares are above 0 and sum to 1")
        return self


class Reference(Record):
    """The distribution of every class's probability."""

    measured_on: str = Field(examples=["isic2017-validation"], description="which set")
    num_pictures: int = Field(gt=0, description="in the set")
    probabilities: dict[str, Histogram] = Field(description="class -> histogram")


def measure_reference(probabilities_NK: ArrayLike, classes: list[str], *, measured_on: str) -> Reference:
    """The reference of ``[N, K]`` probabilities; ``classes`` names their columns."""
    columns = np.asarray(probabilities_NK, dtype=np.float64).T
    return Reference(
        measured_on=measured_on,
        num_pictures=columns.shape[1],
        probabilities={name: _histogram(values) for name, values in zip(classes, columns, strict=True)},
    )


def _histogram(values: np.ndarray) -> Histogram:
    """As many intervals as possible, each with at least a tenth of the values."""
    at_most = [float((values <= edge).mean()) for edge in (*PROBABILITY_EDGES[:-1], math.inf)]
    edges, reached = [0.0], [0.0]
    for edge, share in zip(PROBABILITY_EDGES[1:-1], at_most[1:-1], strict=True):
        if share - reached[-1] >= _LEAST_SHARE and 1.0 - share >= _LEAST_SHARE:
            edges.append(edge)
            reached.append(share)
    return Histogram(edges=[*edges, 1.0], shares=np.diff([*reached, 1.0]).tolist())
