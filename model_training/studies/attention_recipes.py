"""The forms of Eqns 1 and 2 in the attention control."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal


@dataclass(frozen=True)
class AttentionRecipe:
    """One form of the module, with its optimisation."""

    # Eqn 2: the softmax over the whole matrix, or over each row; None: without the correlation block.
    correlation: Literal["matrix", "row"] | None = "matrix"
    # The products as they are, divided by sqrt(K), or of unit vectors times ``sharpness``, which is bounded.
    similarity: Literal["product", "scaled", "cosine"] = "scaled"
    sharpness: float = 1.0
    # Multiply P * F by M and Q . F by H W: maps that sum to one over so many entries have small values.
    gain: bool = True
    spatial: bool = False
    # Initial alpha and beta.
    start: float = 1.0
    # Learning rate of alpha and beta, relative to the rest.
    scalar_rate: float = 1.0
    # Where the features are pooled: before both fully connected layers, or between them. Only between them do the rows
    # of P matter: the mean over positions of P * F depends only on the column sums.
    head: Literal["pooled", "positions"] = "pooled"
    learning_rate: float = 1e-3
    epochs: int = 8


RECIPES: Mapping[str, AttentionRecipe] = MappingProxyType(
    {
        "none": AttentionRecipe(correlation=None),
        "none-positions": AttentionRecipe(correlation=None, head="positions"),
        "literal": AttentionRecipe(similarity="product", gain=False, start=0.0),
        "literal-from-one": AttentionRecipe(similarity="product", gain=False),
        "stabilised": AttentionRecipe(start=0.0),
        "stabilised-from-half": AttentionRecipe(start=0.5),
        "stabilised-from-one": AttentionRecipe(),
        "row-from-one": AttentionRecipe("row"),
        "row-positions": AttentionRecipe("row", head="positions"),
        "stabilised-positions": AttentionRecipe(head="positions"),
        "row-cosine-2": AttentionRecipe("row", similarity="cosine", sharpness=2.0),
        "row-cosine-2-positions": AttentionRecipe("row", similarity="cosine", sharpness=2.0, head="positions"),
        "cosine-2": AttentionRecipe(similarity="cosine", sharpness=2.0),
        "cosine-4": AttentionRecipe(similarity="cosine", sharpness=4.0),
        "row-cosine-4": AttentionRecipe("row", similarity="cosine", sharpness=4.0),
        "row-cosine-4-positions": AttentionRecipe("row", similarity="cosine", sharpness=4.0, head="positions"),
        "row-cosine-8-positions": AttentionRecipe("row", similarity="cosine", sharpness=8.0, head="positions"),
        "spatial": AttentionRecipe(None, spatial=True),
        "spatial-positions": AttentionRecipe(None, spatial=True, head="positions"),
        "full-row-cosine-4-positions": AttentionRecipe(
            "row", similarity="cosine", sharpness=4.0, head="positions", spatial=True
        ),
        "full-cosine-4": AttentionRecipe(similarity="cosine", sharpness=4.0, spatial=True),
        "full-stabilised": AttentionRecipe(start=0.0, spatial=True),
    }
)
