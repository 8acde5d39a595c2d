"""The ResNets behind the branches: torchvision's parameters, and which files they start from."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from model_training.network.backbones import make_stages
from model_training.network.resnet import Bottleneck, ResidualBlock, ResNet

WIDTHS = (64, 128, 256, 512)


def convolutions(depth: int) -> dict[str, tuple[int, ...]]:
    """Every convolution of torchvision's ResNet, by the rule that its paper gives, and its shape."""
    bottleneck = depth == 50
    shapes: dict[str, tuple[int, ...]] = {"conv1": (64, 3, 7, 7)}
    inputs = 64
    for layer, (width, num_blocks) in enumerate(zip(WIDTHS, (3, 4, 6, 3) if bottleneck else (2, 2, 2, 2), strict=True)):
        outputs = 4 * width if bottleneck else width
        for block in range(num_blocks):
            name = f"layer{layer + 1}.{block}"
            if bottleneck:
                shapes[f"{name}.conv1"] = (width, inputs, 1, 1)
                shapes[f"{name}.conv2"] = (width, width, 3, 3)
                shapes[f"{name}.conv3"] = (outputs, width, 1, 1)
            else:
                shapes[f"{name}.conv1"] = (width, inputs, 3, 3)
                shapes[f"{name}.conv2"] = (width, width, 3, 3)
            if inputs != outputs:
                shapes[f"{name}.downsample.0"] = (outputs, inputs, 1, 1)
            inputs = outputs
    return shapes


def torchvision_shapes(depth: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of torchvision's file without the classifier: each convolution has its BatchNorm."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, shape in convolutions(depth).items():
        norm = name.replace("downsample.0", "downsample.1").replace("conv", "bn")
        shapes[f"{name}.weight"] = shape
        shapes |= {f"{norm}.{part}": shape[:1] for part in ("weight", "bias", "running_mean", "running_var")}
        shapes[f"{norm}.num_batches_tracked"] = ()
    return shapes


def random_weights(network: str) -> dict[str, Tensor]:
    return {name: torch.rand(value.shape) for name, value in make_stages(network).state_dict().items()}


def deeper(depth: int) -> dict[str, Tensor]:
    """The next deeper ResNet, which has every parameter of ours in the same shape, and more."""
    resnet = ResNet(ResidualBlock, [3, 4, 6, 3]) if depth == 18 else ResNet(Bottleneck, [3, 4, 23, 3])
    return resnet.state_dict()


@pytest.mark.parametrize(("network", "depth"), [("resnet18", 18), ("resnet50", 50)])
def test_names_and_shapes_are_torchvisions(network: str, depth: int) -> None:
    own = {name: tuple(value.shape) for name, value in make_stages(network).state_dict().items()}
    assert own == torchvision_shapes(depth)


@pytest.mark.parametrize(("network", "depth"), [("resnet18", 18), ("resnet50", 50)])
def test_a_deeper_network_is_not_cut_to_size(network: str, depth: int) -> None:
    with pytest.raises(ValueError, match=r"left out \['layer"):
        make_stages(network).load_pretrained(deeper(depth))


def test_stages_that_are_not_built_may_be_in_the_start() -> None:
    weights = random_weights("resnet18")
    stages = make_stages(num_stages=2)
    stages.load_pretrained({**weights, "fc.weight": torch.zeros(1000, 512)})
    assert torch.equal(stages.get_parameter("layer1.1.conv2.weight"), weights["layer1.1.conv2.weight"])


@pytest.mark.parametrize(
    ("network", "other", "file"),
    [
        ("resnet18", "resnet50", "resnet18-f37072fd.pth"),
        ("attention-resnet18", "resnet50", "resnet18-f37072fd.pth"),
        ("resnet50", "resnet18", "resnet50-0676ba61.pth"),
    ],
)
def test_a_start_of_another_depth_is_refused_with_the_file_that_fits(network: str, other: str, file: str) -> None:
    with pytest.raises(ValueError, match=rf"not a start for {network}: .*same depth.* such as {file}"):
        make_stages(network).load_pretrained(random_weights(other))


def test_a_start_needs_no_count_of_batches() -> None:
    weights = {name: value for name, value in random_weights("resnet18").items() if "num_batches" not in name}
    stages = make_stages()
    stages.load_pretrained(weights)
    own = stages.state_dict()
    assert all(torch.equal(own[name], value) for name, value in weights.items())
