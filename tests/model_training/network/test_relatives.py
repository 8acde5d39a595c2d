"""The systems that the paper compares with: synergic learning, attention residual learning, ResNet50."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from model_training.network.attention_residual import AttentionResidualBlock
from model_training.network.backbones import BACKBONES, make_stages
from model_training.network.cin import ClinicalInspiredNetwork
from model_training.network.feature_extraction import FeatureExtraction
from model_training.network.synergic import Synergic


@pytest.fixture(scope="module")
def imagenet(data_root: Path) -> dict[str, Tensor]:
    """The real ImageNet weights of ResNet18, next to the data."""
    return load_file(data_root.parent / "weights" / "resnet18_imagenet_no_layer4.1.safetensors")


def test_synergic_learns_which_pairs_are_of_one_class() -> None:
    """Two classes, equally frequent: a sum of one term for each image would not get beyond half of the pairs."""
    torch.manual_seed(0)
    module = Synergic(8)
    assert sum(isinstance(layer, nn.Linear) for layer in module.compare) == 3
    classes = torch.randint(0, 2, (2, 256))
    first, second = (torch.randn(256, 8, 3, 3) * 0.3 + c[:, None, None, None] for c in classes)
    same = (classes[0] == classes[1]).float()
    optimiser = torch.optim.Adam(module.parameters(), 1e-2)
    for _ in range(60):
        optimiser.zero_grad()
        F.binary_cross_entropy_with_logits(module(first, second), same).backward()
        optimiser.step()
    assert ((module(first, second) > 0) == same.bool()).float().mean() > 0.95
    shuffled = first.flatten(2)[:, :, torch.randperm(9)].view_as(first)
    torch.testing.assert_close(module(shuffled, second), module(first, second), atol=1e-4, rtol=1e-4)


def test_attention_residual_starts_as_the_imagenet_network(imagenet: dict[str, Tensor]) -> None:
    plain, attending = make_stages().eval(), make_stages("attention-resnet18").eval()
    plain.load_pretrained(imagenet)
    attending.load_pretrained(imagenet)
    picture = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(attending(picture)[-1], plain(picture)[-1])
    own = set(attending.state_dict()) - set(plain.state_dict())
    assert own == {f"layer{i}.{j}.alpha" for i in range(1, 5) for j in (0, 1)}


def test_attention_residual_block_against_its_equation() -> None:
    """Written out position by position for one channel of one image."""
    torch.manual_seed(0)
    block = AttentionResidualBlock(4, 4).eval()
    with torch.no_grad():
        block.alpha.fill_(0.7)
        x = torch.randn(1, 4, 3, 5)
        learnt = block.bn2(block.conv2(F.relu(block.bn1(block.conv1(x)))))
        y = block(x)
        total = sum(float(learnt[0, 2, i, j].exp()) for i in range(3) for j in range(5))
        for i in range(3):
            for j in range(5):
                weight = float(learnt[0, 2, i, j].exp()) / total
                value = float(learnt[0, 2, i, j] + x[0, 2, i, j] + 0.7 * 15 * weight * x[0, 2, i, j])
                assert float(y[0, 2, i, j]) == pytest.approx(max(value, 0.0), abs=1e-5)


def test_the_attention_weight_learns_from_the_first_step() -> None:
    torch.manual_seed(0)
    network = ClinicalInspiredNetwork(
        num_classes=3, features="attention-resnet18", attention=None, distinguish=None, branches="single"
    )
    network(torch.rand(4, 3, 64, 64)).logits_BK[0].square().sum().backward()
    alphas = {name: p.grad for name, p in network.named_parameters() if name.endswith(".alpha")}
    assert len(alphas) == 8
    assert all(grad is not None and float(grad.abs()) > 0 for grad in alphas.values())


def bottleneck(x: Tensor, weights: dict[str, Tensor], name: str, stride: int) -> Tensor:
    """One block of ResNet50 as torchvision has it: the stride is on the 3 x 3 convolution."""

    def normalised(y: Tensor, norm: str) -> Tensor:
        mean, var, weight, bias = (
            weights[f"{name}.{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(y, mean, var, weight, bias)

    y = F.relu(normalised(F.conv2d(x, weights[f"{name}.conv1.weight"]), "bn1"))
    y = F.relu(normalised(F.conv2d(y, weights[f"{name}.conv2.weight"], stride=stride, padding=1), "bn2"))
    y = normalised(F.conv2d(y, weights[f"{name}.conv3.weight"]), "bn3")
    if f"{name}.downsample.0.weight" in weights:
        x = normalised(F.conv2d(x, weights[f"{name}.downsample.0.weight"], stride=stride), "downsample.1")
    return F.relu(y + x)


def test_resnet50_is_torchvisions() -> None:
    torch.manual_seed(0)
    network = make_stages("resnet50").eval()
    weights = dict(network.state_dict())
    assert weights["layer3.5.conv3.weight"].shape == (1024, 256, 1, 1)
    assert sum(w.numel() for n, w in weights.items() if "running" not in n and "num_batches" not in n) == 23_508_032
    picture = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        x = F.conv2d(picture, weights["conv1.weight"], stride=2, padding=3)
        norm = {part: weights[f"bn1.{part}"] for part in ("running_mean", "running_var", "weight", "bias")}
        x = F.max_pool2d(F.relu(F.batch_norm(x, **norm)), 3, stride=2, padding=1)
        for layer, num_blocks in enumerate((3, 4, 6, 3), start=1):
            for block in range(num_blocks):
                x = bottleneck(x, weights, f"layer{layer}.{block}", 2 if layer > 1 and block == 0 else 1)
        torch.testing.assert_close(network(picture)[-1], x, atol=1e-5, rtol=1e-4)


def test_feature_networks_say_how_wide_they_are() -> None:
    widths = {
        "resnet18": (512, 448),
        "resnet34": (512, 448),
        "resnet50": (2048, 1792),
        "resnet101": (2048, 1792),
        "attention-resnet18": (512, 448),
        "efficientnet-lite0": (320, 176),
    }
    assert set(widths) == set(BACKBONES)
    for network, (channels, before) in widths.items():
        features = FeatureExtraction(network)
        assert (features.num_channels, features.num_early_channels) == (channels, before)
        *early, last = features(torch.rand(2, 3, 64, 64))
        assert last.shape == (2, channels, 2, 2)
        assert sum(layer.shape[1] for layer in early) == before


def test_a_start_of_another_depth_is_refused(imagenet: dict[str, Tensor]) -> None:
    with pytest.raises(ValueError, match="the same depth"):
        make_stages("resnet50").load_pretrained(imagenet)
