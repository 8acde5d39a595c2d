"""What is said of a whole network's attention, on small random ones."""

from __future__ import annotations

import pytest
import torch

from model_training.evaluation.module_report import (
    attention_figures,
    attention_switched_off,
    faithfulness_figures,
    probabilities,
)
from model_training.network.cin import ClinicalInspiredNetwork


def _network(start: float) -> ClinicalInspiredNetwork:
    torch.manual_seed(0)
    return ClinicalInspiredNetwork(num_classes=3, attention_start=start).eval()


CROPS = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def test_what_starts_at_zero_does_nothing() -> None:
    figures = attention_figures(_network(0.0), CROPS)
    assert figures["change_without_attention"] == 0
    assert 1 < figures["effective_columns"] <= figures["positions"] == 4


def test_what_acts_moves_the_answers_and_comes_back() -> None:
    network = _network(1.0)
    before = probabilities(network, CROPS)
    assert attention_figures(network, CROPS)["change_without_attention"] > 0
    torch.testing.assert_close(probabilities(network, CROPS), before)


def test_switched_off_is_the_network_with_alpha_and_beta_at_zero() -> None:
    network, other = _network(1.0), _network(0.0)
    with attention_switched_off(network):
        torch.testing.assert_close(probabilities(network, CROPS), probabilities(other, CROPS))


def test_faithfulness_compares_every_map_with_chance() -> None:
    figures = faithfulness_figures(_network(1.0), CROPS, num_steps=4)
    assert set(figures) == {
        "centre",
        "gradient",
        "correlation",
        "correlation-shuffled",
        "spatial",
        "spatial-shuffled",
    }
    assert all(0 < figure["deletion"] < 1 for figure in figures.values())


def test_a_network_without_attention_has_no_figures() -> None:
    network = ClinicalInspiredNetwork(num_classes=3, attention=None).eval()
    with pytest.raises(ValueError, match="no lesion feature attention"):
        attention_figures(network, CROPS)
