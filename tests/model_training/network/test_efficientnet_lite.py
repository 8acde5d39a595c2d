"""EfficientNet-Lite0 compared with its definition: published names, shapes and TensorFlow's padding."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from model_training.network.backbones import make_stages
from model_training.network.cin import ClinicalInspiredNetwork
from model_training.network.feature_extraction import FeatureExtraction

# EfficientNet-B0's blocks: (repeats, kernel, stride, expansion, inputs, outputs).
BLOCKS = [
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
]
# Each block by itself: (kernel, stride, expansion, inputs, outputs).
SINGLE = [
    (kernel, stride if i == 0 else 1, expansion, inputs if i == 0 else outputs, outputs)
    for repeats, kernel, stride, expansion, inputs, outputs in BLOCKS
    for i in range(repeats)
]


def published(num_blocks: int = len(SINGLE)) -> dict[str, Tensor]:
    """Random weights under the published names."""
    torch.manual_seed(0)
    weights: dict[str, Tensor] = {"_fc.weight": torch.zeros(1000, 1280)}

    def convolution(name: str, norm: str, *shape: int) -> None:
        weights[f"{name}.weight"] = torch.randn(shape) * (2 / (shape[1] * shape[2] * shape[3])) ** 0.5
        weights.update({f"{norm}.{part}": torch.rand(shape[0]) + 0.5 for part in ("weight", "running_var")})
        weights.update({f"{norm}.{part}": torch.randn(shape[0]) * 0.1 for part in ("bias", "running_mean")})

    convolution("_conv_stem", "_bn0", 32, 3, 3, 3)
    for number, (kernel, _, expansion, inputs, outputs) in enumerate([*SINGLE, *SINGLE[-1:] * 5][:num_blocks]):
        block, width = f"_blocks.{number}", inputs * expansion
        if expansion > 1:
            convolution(f"{block}._expand_conv", f"{block}._bn0", width, inputs, 1, 1)
        convolution(f"{block}._depthwise_conv", f"{block}._bn1", width, 1, kernel, kernel)
        convolution(f"{block}._project_conv", f"{block}._bn2", outputs, width, 1, 1)
    convolution("_conv_head", "_bn1", 1280, 320, 1, 1)
    return weights


def convolve(x: Tensor, weights: dict[str, Tensor], name: str, norm: str, *, stride: int = 1) -> Tensor:
    """A convolution that gives ceil(side / stride), padded more at the end, and its BatchNorm."""
    weight = weights[f"{name}.weight"]
    kernel, side = weight.shape[2], x.shape[2]
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    x = F.pad(x, (total // 2, total - total // 2) * 2)
    x = F.conv2d(x, weight, stride=stride, groups=x.shape[1] if weight.shape[1] == 1 else 1)
    mean, variance, gain, bias = (
        weights[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
    )
    return F.batch_norm(x, mean, variance, gain, bias, eps=1e-3)


def test_it_is_efficientnet_lite0() -> None:
    weights = published()
    stages = make_stages("efficientnet-lite0").eval()
    stages.load_pretrained(weights)
    picture = torch.randn(2, 3, 64, 64)
    x = F.relu6(convolve(picture, weights, "_conv_stem", "_bn0", stride=2))
    after = []
    for number, (_, stride, expansion, inputs, outputs) in enumerate(SINGLE):
        block, learnt = f"_blocks.{number}", x
        if expansion > 1:
            learnt = F.relu6(convolve(learnt, weights, f"{block}._expand_conv", f"{block}._bn0"))
        learnt = F.relu6(convolve(learnt, weights, f"{block}._depthwise_conv", f"{block}._bn1", stride=stride))
        learnt = convolve(learnt, weights, f"{block}._project_conv", f"{block}._bn2")
        x = learnt + x if stride == 1 and inputs == outputs else learnt
        after.append(x)
    with torch.no_grad():
        for ours, last in zip(stages(picture), (0, 2, 4, 10, 15), strict=True):
            torch.testing.assert_close(ours, after[last], atol=1e-4, rtol=1e-4)


def test_weights_of_another_network_are_refused() -> None:
    stages = make_stages("efficientnet-lite0")
    with pytest.raises(ValueError, match=r"left out \['layer4.16', .*such as efficientnet-lite0-57934424.pth"):
        stages.load_pretrained(published(20))
    with pytest.raises(ValueError, match=r"missing \['layer4.4"):  # it has no shortcut, so is no identity without
        stages.load_pretrained(published(15))
    with pytest.raises(ValueError, match=r"not a start for resnet18: missing \['conv1.weight'"):
        make_stages().load_pretrained(published())


def test_every_branch_sees_what_its_weights_expect() -> None:
    """TensorFlow's are for pixels from -1 to 1."""
    features = FeatureExtraction("efficientnet-lite0")
    black_and_white = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 3, 4, 4)
    assert features.normalise(black_and_white)[:, 0, 0, 0].tolist() == pytest.approx([-127 / 128, 1.0])
    assert len(features.stages.blocks()) == 15
    network = ClinicalInspiredNetwork(num_classes=3, features="efficientnet-lite0")
    output = network(torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64))
    assert [logits.shape for logits in output.logits_BK] == [(2, 3), (2, 3)]


def test_what_is_frozen_stays() -> None:
    features = FeatureExtraction("efficientnet-lite0")
    features.freeze(10)
    before = {name: value.clone() for name, value in features.state_dict().items()}
    features.train()
    features(torch.rand(2, 3, 64, 64))[-1].mean().backward()
    learning = {name for name, value in features.named_parameters() if value.grad is not None}
    assert not any(name.startswith(("stages.conv_stem", "stages.layer0", "stages.layer3")) for name in learning)
    assert "stages.layer4.0.expand_conv.weight" in learning
    changed = {name for name, value in features.state_dict().items() if not torch.equal(value, before[name])}
    assert all(name.startswith("stages.layer4.") for name in changed)
