"""The attention's controls, on small maps: what each form of Eqn 2 can and cannot show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from model_training.evaluation.module_figures import effective_columns
from model_training.studies.attention_control import ControlBranch, attention_control
from model_training.studies.attention_recipes import RECIPES, AttentionRecipe

CHANNELS, SIDE = 32, 7


def _features(num: int = 4, *, scale: float = 1.0) -> torch.Tensor:
    return torch.rand(num, CHANNELS, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * scale


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())
def test_off_is_the_branch_without_attention(recipe: AttentionRecipe) -> None:
    torch.manual_seed(0)
    branch = ControlBranch(CHANNELS, recipe)
    features = _features()
    torch.testing.assert_close(branch(features, "off"), branch.classify(features))


@pytest.mark.parametrize("correlation", ["matrix", "row"])
def test_a_pooled_head_sees_the_sums_of_columns_alone(correlation: str) -> None:
    """Why P's rows end up alike: behind global average pooling no loss tells them apart."""
    torch.manual_seed(0)
    pooled = ControlBranch(CHANNELS, AttentionRecipe(correlation))  # type: ignore[arg-type]
    between = ControlBranch(CHANNELS, AttentionRecipe(correlation, head="positions"))  # type: ignore[arg-type]
    between.load_state_dict(pooled.state_dict())
    features = _features()
    related = pooled.relate(features)
    same_columns = related.mean(dim=1, keepdim=True).expand_as(related)

    def logits(branch: ControlBranch, correlation_BMM: torch.Tensor) -> torch.Tensor:
        mapped = (10 * correlation_BMM @ features.flatten(2).transpose(1, 2)).transpose(1, 2).view_as(features)
        return branch.classify(features + mapped)

    torch.testing.assert_close(logits(pooled, related), logits(pooled, same_columns))
    assert not torch.allclose(logits(between, related), logits(between, same_columns), atol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_cosines_cannot_collapse_to_one_column(scale: float) -> None:
    """Whatever is learnt: products between -2 and 2 leave at least nine of 49 columns."""
    torch.manual_seed(0)
    branch = ControlBranch(CHANNELS, RECIPES["row-cosine-2"])
    for parameter in branch.parameters():
        torch.nn.init.normal_(parameter, std=scale)
    assert effective_columns(branch.relate(_features(scale=scale))).min() > 9


def test_products_collapse() -> None:
    """The control: the same weights under the literal form leave one."""
    torch.manual_seed(0)
    branch = ControlBranch(CHANNELS, RECIPES["literal"])
    for parameter in branch.parameters():
        torch.nn.init.normal_(parameter, std=1.0)
    assert effective_columns(branch.relate(_features())).max() < 2


def test_an_attention_that_has_to_find_the_lesion_acts() -> None:
    """The class shows in one bright cell among dark ones that mislead: the attention learns to take it from there."""
    rng = np.random.default_rng(0)
    num = 400
    labels = rng.integers(0, 3, num)
    features = rng.random((num, CHANNELS, SIDE, SIDE)).astype(np.float16)
    misleading = rng.integers(0, 3, (num, SIDE, SIDE))
    for k in range(3):
        features[:, k] += misleading == k
    cell = rng.integers(0, SIDE, (2, num))
    features[np.arange(num), :3, cell[0], cell[1]] = 0
    features[np.arange(num), labels, cell[0], cell[1]] = 1
    features[:, 3] = 0
    features[np.arange(num), 3, cell[0], cell[1]] = 4
    recipe = replace(RECIPES["row-cosine-2"], epochs=30, learning_rate=3e-3)
    found = attention_control(features, labels, np.arange(num) % 4 == 0, recipe, seed=0)
    assert found["change_off"] > 0.02
    assert found["auc_on"] > found["auc_off"]
    assert found["auc_on"] > found["auc_shuffled"] + 0.1
    assert found["faithfulness"]["correlation"]["deletion_gain"]["low"] > 0
    assert found["faithfulness"]["correlation-shuffled"]["deletion_gain"]["low"] < 0
