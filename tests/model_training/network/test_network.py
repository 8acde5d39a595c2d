"""The modules together: shapes, switches, starts, gradients, and learning a batch by heart."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from model_training.network.backbones import make_stages
from model_training.network.cin import ClinicalInspiredNetwork, Standardise, summed_probabilities
from model_training.network.distinguish import Distinguish
from model_training.network.feature_extraction import FeatureExtraction, normalise
from model_training.network.lesion_area_attention import AuxiliaryBranch, LesionAreaAttention, LesionLocator
from model_training.network.losses import area_loss, classification_loss, distinguish_loss


def torchvision_weights() -> dict[str, Tensor]:
    """Random weights with the names and shapes of torchvision's ResNet18 file."""
    torch.manual_seed(0)
    weights = {name: torch.randn_like(value.float()) * 0.05 for name, value in make_stages().state_dict().items()}
    for name in weights:
        if name.endswith("running_var"):
            weights[name] = weights[name].abs() + 0.5
    return {**weights, "fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}


def test_feature_extraction_has_torchvisions_parameters_and_strides() -> None:
    features = FeatureExtraction().eval()
    names = set(features.stages.state_dict())
    assert {"conv1.weight", "layer1.0.conv1.weight", "layer4.1.bn2.bias", "layer2.0.downsample.1.weight"} <= names
    assert "layer2.0.downsample.0.bias" not in names
    assert sum(p.numel() for p in features.parameters()) == 11_689_512 - 513_000, "ResNet18 without its classifier"
    picture = torch.rand(1, 3, 448, 448)
    assert [layer.shape[1:] for layer in features(picture)] == [
        (64, 112, 112),
        (128, 56, 56),
        (256, 28, 28),
        (512, 14, 14),
    ]


def test_every_stage_halves_the_resolution() -> None:
    sides = [f.shape[1:] for f in make_stages()(torch.rand(2, 3, 64, 64))]
    assert sides == [(64, 32, 32), (64, 16, 16), (128, 8, 8), (256, 4, 4), (512, 2, 2)]


def test_a_start_is_taken_over_completely() -> None:
    stages, weights = make_stages(), torchvision_weights()
    stages.load_pretrained(weights)
    for name, value in stages.state_dict().items():
        assert torch.equal(value.float(), weights[name].to(value.dtype).float()), name


def test_a_block_that_the_start_lacks_begins_as_the_identity() -> None:
    weights = {k: v for k, v in torchvision_weights().items() if not k.startswith("layer4.1")}
    stages = make_stages().eval()
    stages.load_pretrained(weights)
    x = torch.rand(2, 512, 4, 4)
    assert torch.equal(stages.get_submodule("layer4.1")(x), x)


def test_a_start_with_holes_or_other_shapes_is_refused() -> None:
    weights = torchvision_weights()
    with pytest.raises(ValueError, match=r"missing \['layer1\.0\.conv2\.weight'"):
        make_stages().load_pretrained({k: v for k, v in weights.items() if k != "layer1.0.conv2.weight"})
    with pytest.raises(ValueError, match=r"other shape \['conv1\.weight'\]"):
        make_stages().load_pretrained({**weights, "conv1.weight": torch.zeros(64, 3, 3, 3)})


def test_area_module_gives_a_map_at_its_own_size() -> None:
    area = LesionAreaAttention(input_size=64)
    assert area(torch.rand(2, 3, 100, 100)).shape == (2, 64, 64)
    with pytest.raises(ValueError, match="multiple of 16"):
        LesionAreaAttention(input_size=60)


def test_locator_gives_the_contract() -> None:
    locator = LesionLocator(LesionAreaAttention(input_size=32), size=64, threshold=0.5, opening=0.02, margin=0.05)
    found = locator.eval()(torch.rand(3, 3, 48, 48))
    assert found.attention_BSS.shape == (3, 64, 64)
    assert found.box_B4.shape == (3, 4)
    assert found.fraction_B.shape == (3,)
    assert bool((found.attention_BSS >= 0).all() and (found.attention_BSS <= 1).all())


def test_auxiliary_branch_is_frozen_and_reaches_the_map() -> None:
    auxiliary = AuxiliaryBranch()
    auxiliary.train()
    assert not any(m.training for m in auxiliary.modules())
    assert not any(p.requires_grad for p in auxiliary.parameters())
    picture, truth = torch.rand(2, 3, 32, 32), (torch.rand(2, 32, 32) > 0.5).float()
    attention = torch.full((2, 32, 32), 0.5, requires_grad=True)
    auxiliary(picture, attention, truth).backward()
    assert attention.grad is not None
    assert bool((attention.grad != 0).any())
    assert float(auxiliary(picture, truth, truth)) == 0.0


def test_auxiliary_blocks_that_learn_collapse() -> None:
    """Why they are frozen: the distance falls to a tenth though both maps stay what they are."""
    torch.manual_seed(0)
    blocks = AuxiliaryBranch().blocks.requires_grad_(True)
    optimiser = torch.optim.AdamW(blocks.parameters(), 1e-3)
    picture, truth = torch.rand(4, 3, 32, 32), (torch.rand(4, 1, 32, 32) > 0.5).float()
    distances = []
    for _ in range(60):
        seen, target = blocks(normalise(picture * 0.5)), blocks(normalise(picture * truth))
        distance = torch.stack([(a - b).abs().mean() for a, b in zip(seen, target, strict=True)]).mean()
        optimiser.zero_grad()
        distance.backward()
        optimiser.step()
        distances.append(float(distance.detach()))
    assert distances[-1] < 0.1 * distances[0]


def test_pooled_between_the_layers_the_rows_of_p_matter() -> None:
    """Pooled before them, only the sums of P's columns reach the classifier."""
    torch.manual_seed(0)
    features = torch.randn(2, 512, 2, 2)
    uneven = torch.tensor([0.7, 0.1, 0.1, 0.1]).expand(2, 4, 4)
    other_rows = uneven + torch.tensor([[0.1, -0.1, 0, 0], [-0.1, 0.1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    related = [
        (p @ features.flatten(2).transpose(1, 2)).transpose(1, 2).view_as(features) for p in (uneven, other_rows)
    ]

    def difference(pooling: str) -> float:
        network = ClinicalInspiredNetwork(num_classes=3, classifier_pooling=pooling)  # type: ignore[arg-type]
        first, second = (network.own_branches()[0].logits(maps, maps.mean(dim=(2, 3))) for maps in related)
        return float((first - second).abs().max())

    assert difference("before") < 1e-5
    assert difference("between") > 1e-3


def test_one_layer_can_classify() -> None:
    torch.manual_seed(0)
    one = ClinicalInspiredNetwork(num_classes=3, classifier_layers=1)
    layers = [module for module in one.branches[0].modules() if isinstance(module, torch.nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in layers] == [(512, 3)]


@pytest.mark.parametrize("attention", ["stabilised", None])
@pytest.mark.parametrize("distinguish", ["convolutional", "synergic", None])
def test_modules_switch_off_as_in_table_1(attention: str | None, distinguish: str | None) -> None:
    network = ClinicalInspiredNetwork(num_classes=3, attention=attention, distinguish=distinguish)  # type: ignore[arg-type]
    output = network(torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64))
    assert [logits.shape for logits in output.logits_BK] == [(2, 3), (2, 3)]
    assert (output.same_B is None) == (distinguish is None)
    branch = network.diagnose(torch.rand(2, 3, 64, 64))[0]
    assert (branch.spatial_BCHW is None) == (attention is None)


def test_branches_are_separate_unless_shared() -> None:
    def num_parameters(branches: str) -> int:
        network = ClinicalInspiredNetwork(num_classes=3, distinguish=None, branches=branches)  # type: ignore[arg-type]
        return sum(p.numel() for p in network.parameters())

    assert num_parameters("separate") == 2 * num_parameters("shared")


def test_a_single_branch_learns_from_pictures_and_answers_as_both() -> None:
    network = ClinicalInspiredNetwork(num_classes=3, distinguish=None, branches="single").eval()
    picture = torch.rand(2, 3, 64, 64)
    output = network(picture)
    assert [logits.shape for logits in output.logits_BK] == [(2, 3)]
    first, second = network.diagnose(picture)
    torch.testing.assert_close(first.logits_BK, second.logits_BK, rtol=0, atol=0)
    with pytest.raises(ValueError, match="zip"):
        network(picture, picture)


def test_summed_probabilities_are_the_mean_of_the_branches() -> None:
    logits = torch.tensor([[[2.0, 0.0], [0.0, 1.0]]])
    summed, branches = summed_probabilities(logits, torch.tensor([1.0, 2.0]))
    torch.testing.assert_close(branches[0, 0], torch.softmax(torch.tensor([2.0, 0.0]), 0))
    torch.testing.assert_close(branches[0, 1], torch.softmax(torch.tensor([0.0, 0.5]), 0))
    torch.testing.assert_close(summed, branches.sum(dim=1) / 2)


def test_distinguish_takes_the_pair_in_order() -> None:
    torch.manual_seed(0)
    module = Distinguish(8).eval()
    first, second = torch.randn(4, 8, 3, 3), torch.randn(4, 8, 3, 3)
    assert module(first, second).shape == (4,)
    assert not torch.allclose(module(first, second), module(second, first))


def train_steps(module: nn.Module, loss: object, *, steps: int, learning_rate: float = 1e-3) -> list[float]:
    optimiser = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=learning_rate)
    values = []
    for _ in range(steps):
        optimiser.zero_grad()
        value = loss()  # type: ignore[operator]
        value.backward()
        optimiser.step()
        values.append(float(value.detach()))
    return values


def pair_loss(network: ClinicalInspiredNetwork, pictures: Tensor, labels: Tensor) -> Tensor:
    first, second = pictures[:8], pictures[8:]
    output = network(first, second)
    assert output.same_B is not None
    logits = torch.cat(output.logits_BK)
    return classification_loss(logits, labels, torch.ones(3)) + distinguish_loss(output.same_B, labels[:8], labels[8:])


@pytest.fixture
def pair_batch() -> tuple[Tensor, Tensor]:
    """Eight pairs whose classes can be told from the colour."""
    generator = torch.Generator().manual_seed(3)
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 0, 2, 2, 1, 1, 0, 0, 2])
    pictures = torch.rand(16, 3, 64, 64, generator=generator) * 0.5
    pictures[torch.arange(16), labels] += 0.5
    return pictures, labels


def test_gradients_reach_every_parameter_after_one_step(pair_batch: tuple[Tensor, Tensor]) -> None:
    """On the first step alpha = beta = 0 keeps the attention's own convolutions still; from the second on all learn."""
    torch.manual_seed(0)
    network = ClinicalInspiredNetwork(num_classes=3)
    train_steps(network, lambda: pair_loss(network, *pair_batch), steps=1)
    network.zero_grad()
    pair_loss(network, *pair_batch).backward()
    unreached = [n for n, p in network.named_parameters() if p.grad is None or not bool((p.grad != 0).any())]
    assert unreached == []


def test_area_gradients_reach_every_parameter() -> None:
    torch.manual_seed(0)
    area = LesionAreaAttention(input_size=32)
    area_loss(area(torch.rand(4, 3, 32, 32)), (torch.rand(4, 32, 32) > 0.5).float()).backward()
    assert [n for n, p in area.named_parameters() if p.grad is None or not bool((p.grad != 0).any())] == []


def test_second_stage_learns_eight_pairs_by_heart(pair_batch: tuple[Tensor, Tensor]) -> None:
    torch.manual_seed(0)
    network = ClinicalInspiredNetwork(num_classes=3)
    losses = train_steps(network, lambda: pair_loss(network, *pair_batch), steps=25, learning_rate=5e-4)
    assert min(losses[-5:]) < 0.05 < losses[0]


def test_first_stage_learns_eight_masks_by_heart() -> None:
    torch.manual_seed(0)
    area = LesionAreaAttention(input_size=32)
    truth = torch.zeros(8, 32, 32)
    for i in range(8):
        truth[i, 4 + i : 18 + i, 6:20] = 1
    pictures = torch.rand(8, 3, 32, 32) * 0.2 + truth.unsqueeze(1) * 0.6
    losses = train_steps(area, lambda: area_loss(area(pictures), truth), steps=80, learning_rate=1e-2)
    assert min(losses[-5:]) < 0.03 < losses[0]


def test_the_classifier_may_see_the_means_of_all_layers() -> None:
    network = ClinicalInspiredNetwork(num_classes=3, classifier_features="all", classifier_layers=1, branches="single")
    (branch,) = network.own_branches()
    (layer,) = branch.classify
    assert isinstance(layer, torch.nn.Linear)
    assert layer.in_features == 64 + 128 + 256 + 512
    with torch.no_grad():
        layer.weight[:, :448] = 0
        without_early = branch(torch.rand(2, 3, 64, 64)).logits_BK
        maps, early, last = torch.rand(2, 512, 2, 2), torch.rand(2, 448), torch.rand(2, 512)
        first, second = torch.cat([early, last], dim=1), torch.cat([early + 1, last], dim=1)
        assert torch.equal(branch.logits(maps, first), branch.logits(maps, second))
        layer.weight[:, 0] = 1
        assert not torch.equal(branch.logits(maps, first), branch.logits(maps, second))
    assert without_early.shape == (2, 3)


def test_standardised_features_have_mean_0_and_deviation_1() -> None:
    features = torch.rand(50, 4) * 7 + 3
    features[:, 3] = 5  # a channel that never changes
    standardise = Standardise(4)
    assert torch.equal(standardise(features), features)
    standardise.fit(features)
    assert torch.allclose(standardise(features).mean(dim=0), torch.zeros(4), atol=1e-5)
    assert torch.allclose(standardise(features)[:, :3].std(dim=0), torch.ones(3), atol=1e-5)
    assert standardise(features)[:, 3].abs().max() == 0


@pytest.mark.parametrize("blocks", [0, 4, 7, None])
def test_what_is_frozen_stays(blocks: int | None) -> None:
    extraction, classifier = FeatureExtraction("resnet18"), nn.Linear(512, 3)
    extraction.freeze(blocks)
    with pytest.raises(ValueError, match="resnet18 has 8 residual blocks"):
        extraction.freeze(9)
    before = {name: value.clone() for name, value in extraction.state_dict().items()}
    optimiser = torch.optim.SGD([p for p in [*extraction.parameters(), *classifier.parameters()] if p.requires_grad], 1)
    extraction.train()
    classifier(extraction(torch.rand(4, 3, 64, 64))[-1].mean(dim=(2, 3))).square().mean().backward()
    optimiser.step()
    changed = {name for name, value in extraction.state_dict().items() if not torch.equal(value, before[name])}
    for parts, learn in (
        (("conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "layer2.1.bn2.running_mean"), blocks == 0),
        (("layer3.0.conv1.weight", "layer4.0.bn1.bias", "layer4.0.bn1.running_var"), blocks in (0, 4)),
        (("layer4.1.conv1.weight", "layer4.1.bn2.running_var"), blocks is not None),
    ):
        assert all((f"stages.{part}" in changed) == learn for part in parts)
