"""Attention residual blocks compared with plain ones."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from model_training.network.attention_residual import AttentionResidualBlock
from model_training.network.backbones import make_stages
from model_training.network.stages import Stages


def pair_of_networks() -> tuple[Stages, Stages]:
    """A plain and an attending network with the same weights and statistics, none of them trivial."""
    torch.manual_seed(0)
    plain, attending = make_stages().eval(), make_stages("attention-resnet18").eval()
    for module in plain.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    attending.load_pretrained(plain.state_dict())
    return plain, attending


@pytest.mark.parametrize("half", [False, True])
@torch.no_grad()
def test_without_weight_it_is_exactly_the_plain_network(half: bool) -> None:
    plain, attending = pair_of_networks()
    picture = torch.rand(2, 3, 64, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        for ours, theirs in zip(attending(picture), plain(picture), strict=True):
            assert ours.dtype == theirs.dtype
            assert torch.equal(ours, theirs)
        for name, parameter in attending.named_parameters():
            if name.endswith(".alpha"):
                parameter.fill_(0.5)
        assert not torch.equal(attending(picture)[-1], plain(picture)[-1]), "with weight it is another network"


@torch.no_grad()
def test_attention_that_is_the_same_everywhere_scales_the_input() -> None:
    """Where F is zero the softmax is 1 / (H W), so that H W times it leaves (1 + alpha) x."""
    block = AttentionResidualBlock(4, 4).eval()
    nn.init.zeros_(block.bn2.weight)
    block.alpha.fill_(0.25)
    x = torch.rand(2, 4, 6, 5)
    torch.testing.assert_close(block(x), 1.25 * x)


@torch.no_grad()
def test_attention_is_normalised_in_float32_under_autocast() -> None:
    """Over 112 x 112 positions, as layer1 has at 448; bfloat16 has three digits."""
    torch.manual_seed(0)
    block = AttentionResidualBlock(4, 4).eval()
    block.alpha.fill_(1.0)
    x = torch.rand(1, 4, 112, 112)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = block(x)
    assert bool(torch.isfinite(half).all())
    torch.testing.assert_close(half.float(), block(x), atol=0.05, rtol=0.03)


def test_a_start_that_attends_keeps_its_weight() -> None:
    trained, fresh = make_stages("attention-resnet18"), make_stages("attention-resnet18")
    with torch.no_grad():
        trained.get_parameter("layer2.1.alpha").fill_(0.3)
    fresh.load_pretrained(trained.state_dict())
    assert float(fresh.get_parameter("layer2.1.alpha").detach()) == pytest.approx(0.3)
    make_stages().load_pretrained(trained.state_dict())
