"""The figures of :mod:`module_figures` for a trained network on lesion crops: does its attention have an effect?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from model_training.arrays import Indices
from model_training.evaluation.module_figures import (
    Faithfulness,
    central_importance,
    deletion_insertion,
    effective_columns,
    effective_rows,
    gains_over_chance,
    probability_change,
    random_importance,
    row_spread,
    shuffled,
)
from model_training.metrics import class_aucs
from model_training.network.cin import BranchOutput, ClinicalInspiredNetwork, summed_probabilities
from model_training.network.lesion_feature_attention import LesionFeatureAttention

BATCH = 32
# Number of images; deletion and insertion run the network about two hundred times for each.
NUM_FAITHFULNESS = 64


@contextmanager
def attention_switched_off(network: ClinicalInspiredNetwork) -> Iterator[None]:
    """Context in which alpha and beta of Eqn 3 are zero."""
    modules = [module for module in network.modules() if isinstance(module, LesionFeatureAttention)]
    learnt = [(module.alpha.detach().clone(), module.beta.detach().clone()) for module in modules]
    with torch.no_grad():
        for module in modules:
            module.alpha.zero_()
            module.beta.zero_()
    try:
        yield
    finally:
        with torch.no_grad():
            for module, (alpha, beta) in zip(modules, learnt, strict=True):
                module.alpha.copy_(alpha)
                module.beta.copy_(beta)


def probabilities(network: ClinicalInspiredNetwork, views_NCSS: Tensor) -> Tensor:
    """The network's answers ``[N, K]``, uncalibrated."""
    return torch.cat([_sum(network.diagnose(part)) for part in views_NCSS.split(BATCH)])


def attention_report(
    network: ClinicalInspiredNetwork,
    views_NCSS: Tensor,
    labels_N: Indices,
    scored: Sequence[int],
    *,
    with_faithfulness: bool = True,
) -> dict[str, Any]:
    """All figures of the attention, with the mean AUC of the ``scored`` classes with and without it.

    Deletion and insertion, which take minutes on a CPU, are measured on evenly spaced images. Raises as
    :func:`attention_figures`.
    """
    figures: dict[str, Any] = dict(attention_figures(network, views_NCSS))
    with torch.no_grad():
        figures["mean_auc"] = _mean_auc(probabilities(network, views_NCSS), labels_N, scored)
        with attention_switched_off(network):
            figures["mean_auc_without_attention"] = _mean_auc(probabilities(network, views_NCSS), labels_N, scored)
    if not with_faithfulness:
        return figures
    some = views_NCSS[:: max(1, len(views_NCSS) // NUM_FAITHFULNESS)][:NUM_FAITHFULNESS]
    return {**figures, "faithfulness_images": len(some), "faithfulness": faithfulness_figures(network, some)}


def _mean_auc(probabilities_NK: Tensor, labels_N: Indices, scored: Sequence[int]) -> float:
    return float(class_aucs(labels_N, probabilities_NK.double().cpu().numpy(), scored).mean())


def attention_figures(network: ClinicalInspiredNetwork, views_NCSS: Tensor) -> dict[str, float]:
    """How much the answers change without F, and how many positions P relates; means over images and branches.

    Views are float32 in 0..1. Raises ``ValueError`` for a network without lesion feature attention.
    """
    network.eval()
    rows, columns, spread, answers = [], [], [], []
    with torch.no_grad():
        for part in views_NCSS.split(BATCH):
            branches = network.diagnose(part)
            answers.append(_sum(branches))
            for branch in branches:
                correlation = _correlation(branch)
                rows.append(effective_rows(correlation))
                columns.append(effective_columns(correlation))
                spread.append(row_spread(correlation))
        with attention_switched_off(network):
            without = probabilities(network, views_NCSS)
    return {
        "change_without_attention": probability_change(torch.cat(answers), without),
        "effective_columns": float(torch.cat(columns).mean()),
        "effective_rows": float(torch.cat(rows).mean()),
        "row_spread": float(torch.cat(spread).mean()),
        "positions": float(rows[0].new_tensor(_correlation(branches[0]).shape[1])),
    }


def faithfulness_figures(
    network: ClinicalInspiredNetwork, views_NCSS: Tensor, *, num_steps: int = 7, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Deletion and insertion of cells of the crop, for the predicted class, in the order of each map.

    A deleted cell gets the crop's mean colour. ``*_gain`` is the gain over random maps, with its 95 % interval over the
    images. Maps: correlation (column sums of P), spatial (mean of Q over channels), gradient (times the change by
    deletion), the centre, and the first two shuffled.
    """
    network.eval()
    generator = torch.Generator().manual_seed(seed)
    areas: dict[str, list[Faithfulness]] = {}
    for views in views_NCSS.split(BATCH):
        blank = views.clone()
        blank[:, :3] = views[:, :3].mean(dim=(2, 3), keepdim=True)  # of the crop, which is the first view
        with torch.no_grad():
            chosen_B = _sum(network.diagnose(views)).argmax(dim=1)

        def score(changed: Tensor, chosen_B: Tensor = chosen_B) -> Tensor:
            with torch.no_grad():
                return _sum(network.diagnose(changed)).gather(1, chosen_B[:, None]).squeeze(1)

        for name, importance in _importance_maps(network, views, blank, chosen_B, generator).items():
            found = deletion_insertion(score, views, blank, importance, num_steps=num_steps)
            areas.setdefault(name, []).append(found)
    return gains_over_chance(areas)


def _importance_maps(
    network: ClinicalInspiredNetwork, views: Tensor, blank: Tensor, chosen_B: Tensor, generator: torch.Generator
) -> dict[str, Tensor]:
    leaf = views.clone().requires_grad_(True)
    branches = network.diagnose(leaf)
    (gradient,) = torch.autograd.grad(_sum(branches).gather(1, chosen_B[:, None]).sum(), leaf)
    on_crops = [output for output, branch in zip(branches, network.branches, strict=False) if branch.view == 0]
    spatial_Bhw = torch.stack([_spatial(branch).mean(dim=1) for branch in on_crops]).mean(dim=0).detach()
    columns_BM = torch.stack([_correlation(branch).sum(dim=1) for branch in on_crops]).mean(dim=0).detach()
    num, side = spatial_Bhw.shape[0], spatial_Bhw.shape[1]
    correlation_Bhw = columns_BM.view_as(spatial_Bhw)
    by_gradient = F.adaptive_avg_pool2d((gradient * (views - blank)).sum(dim=1, keepdim=True), side).squeeze(1)
    return {
        "random": random_importance(num, side, generator),
        "centre": central_importance(num, side),
        "gradient": by_gradient.detach(),
        "correlation": correlation_Bhw,
        "correlation-shuffled": shuffled(correlation_Bhw, generator),
        "spatial": spatial_Bhw,
        "spatial-shuffled": shuffled(spatial_Bhw, generator),
    }


def _sum(branches: list[BranchOutput]) -> Tensor:
    logits = torch.stack([branch.logits_BK for branch in branches], dim=1)
    return summed_probabilities(logits, logits.new_ones(logits.shape[1]))[0]


def _correlation(branch: BranchOutput) -> Tensor:
    if branch.correlation_BMM is None:
        raise ValueError("the network has no lesion feature attention")
    return branch.correlation_BMM


def _spatial(branch: BranchOutput) -> Tensor:
    if branch.spatial_BCHW is None:
        raise ValueError("the network has no lesion feature attention")
    return branch.spatial_BCHW
