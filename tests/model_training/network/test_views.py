"""What the branches see: the crop or the whole image, and the lesion's map to pool over."""

from __future__ import annotations

import pytest
import torch

from model_training.config import ConfigError, load_config
from model_training.network.cin import ClinicalInspiredNetwork, lesion_mean
from model_training.network.crop import crop, crop_pairs

WHOLE = torch.tensor([[0.0, 0.0, 1.0, 1.0]])


def test_the_mean_over_the_lesion_is_that_of_its_positions() -> None:
    features = torch.zeros(1, 2, 2, 2)
    features[0, 0, 0, 0], features[0, 1] = 8.0, 3.0
    lesion = torch.zeros(1, 1, 8, 8)
    lesion[:, :, :4, :4] = 1
    torch.testing.assert_close(lesion_mean(features, lesion), torch.tensor([[8.0, 3.0]]), rtol=0.01, atol=0)
    torch.testing.assert_close(lesion_mean(features, lesion * 0), features.mean(dim=(2, 3)))


def test_views_are_the_crop_and_the_whole_image_each_with_the_lesion() -> None:
    network = ClinicalInspiredNetwork(num_classes=3, lesion_pooling=True, second_view="whole")
    picture, attention, box = torch.rand(1, 3, 96, 96), torch.rand(1, 48, 48), torch.tensor([[0.25, 0.25, 0.75, 0.5]])
    views = network.views(picture, attention, box, 64)
    assert views.shape == (1, 8, 64, 64)
    torch.testing.assert_close(views[:, :3], crop(picture, box, 64))
    torch.testing.assert_close(views[:, 4:7], crop(picture, WHOLE, 64))
    assert not torch.allclose(views[:, 3], views[:, 7], atol=0.1)
    plain = ClinicalInspiredNetwork(num_classes=3).views(picture, attention, box, 64)
    assert torch.equal(plain, crop(picture, box, 64))


@pytest.mark.parametrize("plane", range(8))
def test_each_branch_sees_its_own_view(plane: int) -> None:
    torch.manual_seed(0)
    network = ClinicalInspiredNetwork(
        num_classes=3, classifier_features="all", classifier_layers=1, lesion_pooling=True, second_view="whole"
    ).eval()
    views = torch.rand(2, 8, 64, 64)
    changed = views.clone()
    changed[:, plane, :32] = 0
    before, after = network.diagnose(views), network.diagnose(changed)
    differs = [not torch.equal(a.pooled_BC, b.pooled_BC) for a, b in zip(before, after, strict=True)]
    assert differs == [plane < 4, plane >= 4]
    assert before[0].pooled_BC.shape == (2, 2 * (64 + 128 + 256 + 512))


def test_relations_between_positions_follow_the_crop() -> None:
    """On the right half, the positions of the left half are gone."""
    relations = torch.zeros(1, 16, 16)
    relations[0, 3, 7] = 1.0  # from the first row's last position to the second's
    torch.testing.assert_close(crop_pairs(relations, WHOLE), relations)
    right = crop_pairs(relations, torch.tensor([[0.5, 0.0, 1.0, 1.0]]))
    assert right.sum() > 0.5
    assert right[0, 3].argmax() == 7
    assert crop_pairs(relations, torch.tensor([[0.0, 0.0, 0.5, 1.0]])).sum() == 0


def test_one_branch_has_one_view() -> None:
    with pytest.raises(ConfigError, match="one branch has one view"):
        load_config(None, ["network.branches=shared", "network.second_view=whole"])
