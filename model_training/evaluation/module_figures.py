"""Figures of a trained network's modules: the effect of switching one off, and the faithfulness of its map.

Shape suffixes: N or B images, K classes, M positions of the feature map, H and W sides in pixels, h and w of the map.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from scipy.special import stdtrit
from torch import Tensor
from torch.nn import functional as F

Score = Callable[[Tensor], Tensor]


class Interval(NamedTuple):
    """A mean over images with its 95 % interval (Student's t)."""

    mean: float
    low: float
    high: float


def mean_interval(values_N: Tensor) -> Interval:
    """The mean of one value per image. Raises ``ValueError`` for fewer than two images."""
    if len(values_N) < 2:
        raise ValueError("an interval needs at least two images")
    values = values_N.double()
    mean, error = float(values.mean()), float(values.std()) / len(values) ** 0.5
    reach = float(stdtrit(len(values) - 1, 0.975)) * error
    return Interval(mean, mean - reach, mean + reach)


def probability_change(with_NK: Tensor, without_NK: Tensor) -> float:
    """The mean absolute change of the probabilities when a module is switched off, over images and classes."""
    return float((with_NK.double() - without_NK.double()).abs().mean())


def effective_number(mass_BM: Tensor) -> Tensor:
    """exp(entropy) of non-negative weights, ``[B]``: M when they are equal, 1 when one position has all."""
    share = mass_BM.double() / mass_BM.double().sum(dim=1, keepdim=True)
    return torch.special.entr(share).sum(dim=1).exp()


def effective_columns(correlation_BMM: Tensor) -> Tensor:
    """The effective number of positions that P * F (Eqn 3) takes features from, ``[B]``: by the sums of P's columns."""
    return effective_number(correlation_BMM.double().sum(dim=1))


def effective_rows(correlation_BMM: Tensor) -> Tensor:
    """The effective number of positions that P * F gives features to, ``[B]``; M if each row is normalised."""
    return effective_number(correlation_BMM.double().sum(dim=2))


def row_spread(correlation_BMM: Tensor) -> Tensor:
    """How much the rows of P differ, ``[B]`` in 0..1; 0 when all are equal.

    The mean total variation distance between a row and the mean row, with each row normalised to sum 1.
    """
    rows = correlation_BMM.double()
    rows = rows / rows.sum(dim=2, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
    return 0.5 * (rows - rows.mean(dim=1, keepdim=True)).abs().sum(dim=2).mean(dim=1)


class Faithfulness(NamedTuple):
    """Mean score while cells are deleted, and while they are inserted, most important first; ``[B]`` each.

    A faithful map has a low ``deletion`` and a high ``insertion``.
    """

    deletion_B: Tensor
    insertion_B: Tensor


def deletion_insertion(
    score: Score, image_BCHW: Tensor, blank_BCHW: Tensor, importance_Bhw: Tensor, *, num_steps: int
) -> Faithfulness:
    """Deletion and insertion (Petsiuk et al., 2018) of the cells of a map, in ``num_steps`` equal steps.

    ``score`` gives ``[B]`` for images ``[B, C, H, W]``, or for feature maps. ``blank_BCHW`` is what a deleted cell
    shows. The area under the curve is by the trapezoidal rule, over the share of cells.
    """
    size = (image_BCHW.shape[2], image_BCHW.shape[3])
    num_cells = importance_Bhw[0].numel()
    order = importance_Bhw.to(image_BCHW.device).flatten(1).argsort(dim=1, descending=True, stable=True)
    rank_B1hw = order.argsort(dim=1).view_as(importance_Bhw).unsqueeze(1).float()
    rank_B1HW = F.interpolate(rank_B1hw, size, mode="nearest")
    deleted, inserted = [], []
    for step in range(num_steps + 1):
        chosen = rank_B1HW < round(num_cells * step / num_steps)
        deleted.append(score(torch.where(chosen, blank_BCHW, image_BCHW)).double())
        inserted.append(score(torch.where(chosen, image_BCHW, blank_BCHW)).double())
    return Faithfulness(_area(deleted), _area(inserted))


def _area(curve: list[Tensor]) -> Tensor:
    return torch.trapezoid(torch.stack(curve), dim=0) / (len(curve) - 1)


def gains_over_chance(areas: Mapping[str, Sequence[Faithfulness]]) -> dict[str, dict[str, Any]]:
    """Mean areas of each map, and their gain over those of the map ``random``, with 95 % intervals.

    ``areas``: the results of :func:`deletion_insertion` by map, batch by batch.
    """
    joined = {name: [torch.cat(column) for column in zip(*parts, strict=True)] for name, parts in areas.items()}
    by_chance = joined.pop("random")
    return {
        name: {
            "deletion": float(deletion.mean()),
            "insertion": float(insertion.mean()),
            "deletion_gain": mean_interval(by_chance[0] - deletion)._asdict(),
            "insertion_gain": mean_interval(insertion - by_chance[1])._asdict(),
        }
        for name, (deletion, insertion) in joined.items()
    }


def random_importance(num: int, side: int, generator: torch.Generator) -> Tensor:
    """Random maps ``[num, side, side]``, independent of the image."""
    return torch.rand(num, side, side, generator=generator)


def shuffled(importance_Bhw: Tensor, generator: torch.Generator) -> Tensor:
    """The same values at random positions, drawn per image: the control that a faithful map must beat."""
    places = torch.rand(importance_Bhw.flatten(1).shape, generator=generator).argsort(dim=1).to(importance_Bhw.device)
    return importance_Bhw.flatten(1).gather(1, places).view_as(importance_Bhw)


def central_importance(num: int, side: int) -> Tensor:
    """Maps ``[num, side, side]`` that decrease from the centre of the crop, where the lesion is."""
    steps = (torch.arange(side) + 0.5) / side - 0.5
    return (-(steps.view(-1, 1) ** 2 + steps.view(1, -1) ** 2)).expand(num, side, side)
