"""Test-time augmentation: the eight views of a crop."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor

from model_training.network.cin import ClinicalInspiredNetwork
from model_training.network.lesion_area_attention import whole_images
from model_training.training.recognition import dihedral_views, predict_logits
from tests.model_training.small_runs import small_frames


def test_the_views_are_the_turns_and_mirrors_of_the_picture() -> None:
    picture = torch.arange(2 * 3 * 4 * 4, dtype=torch.float32).view(2, 3, 4, 4)
    plain = picture.numpy()
    expected = [np.rot90(side, turns, axes=(2, 3)) for side in (plain, plain[..., ::-1]) for turns in range(4)]
    views = list(dihedral_views(picture))
    assert [view.shape for view in views] == [picture.shape] * 8
    assert all(any(np.array_equal(view.numpy(), e) for view in views) for e in expected)
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(views, 2))


def test_the_answer_over_eight_views_does_not_depend_on_how_the_picture_lies() -> None:
    torch.manual_seed(0)
    network = ClinicalInspiredNetwork(num_classes=3, attention=None, distinguish=None).eval()
    frames = small_frames(3)
    turned = np.ascontiguousarray(np.rot90(frames.frames[:, :, ::-1], 1, axes=(1, 2)))

    def logits(pictures: np.ndarray, num_views: int) -> Tensor:
        small = type(frames)(**{**vars(frames), "frames": pictures})
        with torch.inference_mode():
            return predict_logits(network, small, whole_images(3), 32, torch.device("cpu"), num_views=num_views)

    assert not torch.allclose(logits(frames.frames, 1), logits(turned, 1), atol=1e-4)
    torch.testing.assert_close(logits(frames.frames, 8), logits(turned, 8), atol=1e-5, rtol=1e-4)
