"""One orientation for all turns and mirror images."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from model_training.evaluation.calibration import Calibration
from model_training.network.cin import ClinicalInspiredNetwork
from model_training.network.lesion_area_attention import LesionAreaAttention, LesionLocator
from model_training.network.orientation import (
    canonical_orientation,
    orient,
    restore,
    restore_boxes,
    restore_pairs,
)
from model_training.release.deployed import DeployedCIN

SIDE = 64


def turns() -> list[Callable[[Tensor], Tensor]]:
    """Every turn and mirror image of the last two dimensions."""

    def turn(image: Tensor, quarters: int, mirrored: bool) -> Tensor:
        return torch.rot90(image.flip(-1) if mirrored else image, quarters, (-2, -1))

    return [lambda image, q=q, m=m: turn(image, q, m) for m in (False, True) for q in range(4)]  # type: ignore[misc]


def images(num: int = 6, side: int = SIDE) -> Tensor:
    """Smooth random images, so that no centre is exactly in the middle."""
    coarse = torch.rand(num, 3, 5, 5, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.interpolate(coarse, side, mode="bilinear", align_corners=False)


def test_every_turn_has_the_same_canonical_image() -> None:
    original = images()
    expected = orient(original, canonical_orientation(original))
    codes = set()
    for turn in turns():
        how = canonical_orientation(turn(original))
        torch.testing.assert_close(orient(turn(original), how), expected, rtol=0, atol=0)
        codes |= {tuple(bool(flag[0]) for flag in how)}
    assert len(codes) == len(turns())


def test_an_image_of_one_colour_stays_as_it_is() -> None:
    plain = torch.full((1, 3, SIDE, SIDE), 0.5)
    torch.testing.assert_close(orient(plain, canonical_orientation(plain)), plain)


def test_restoring_undoes_the_orientation_of_images_boxes_and_pairs() -> None:
    for turn in turns():
        given = turn(images())
        how = canonical_orientation(given)
        torch.testing.assert_close(restore(orient(given, how), how), given)

        boxes = torch.tensor([[0.125, 0.25, 0.5, 1.0]]).repeat(len(given), 1)
        oriented_mask = torch.zeros(len(given), 1, 8, 8)
        oriented_mask[:, :, 2:8, 1:4] = 1
        mask = restore(oriented_mask, how)
        for (x0, y0, x1, y1), of_image in zip((restore_boxes(boxes, how) * 8).int().tolist(), mask[:, 0], strict=True):
            assert of_image.sum() == of_image[y0:y1, x0:x1].sum() == 18
            assert (x1 - x0) * (y1 - y0) == 18

        # What position i says about position j is, after restoring, what i's new place says about j's.
        place = torch.arange(9.0).reshape(1, 1, 3, 3).repeat(len(given), 1, 1, 1)
        pairs = (place.reshape(-1, 9, 1) * 10 + place.reshape(-1, 1, 9)).unsqueeze(1)
        moved = restore(place, how)
        expected = (moved.reshape(-1, 9, 1) * 10 + moved.reshape(-1, 1, 9)).unsqueeze(1)
        torch.testing.assert_close(restore_pairs(pairs, how), expected)


@pytest.fixture(scope="module")
def networks() -> tuple[DeployedCIN, DeployedCIN]:
    """One untrained network, which takes images as they are and in their canonical orientation."""
    torch.manual_seed(0)
    locator = LesionLocator(LesionAreaAttention(input_size=SIDE), size=SIDE, threshold=0.5, opening=0.02, margin=0.1)
    cin = ClinicalInspiredNetwork(num_classes=3, attention_start=1.0)
    calibration = Calibration(torch.ones(2), torch.zeros(3))
    made = [
        DeployedCIN(locator, cin, size=SIDE, calibration=calibration, canonical_orientation=canonical).eval()
        for canonical in (False, True)
    ]
    return made[0], made[1]


def test_no_turn_changes_the_answer_and_the_maps_turn_along(networks: tuple[DeployedCIN, DeployedCIN]) -> None:
    def answers(network: DeployedCIN, image: Tensor) -> tuple[Tensor, ...]:
        with torch.inference_mode():
            return network((image * 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous())

    free, canonical = networks
    original = images(3)
    expected = answers(canonical, original)
    for turn in turns()[1:]:
        found = answers(canonical, turn(original))
        torch.testing.assert_close(found[0], expected[0], rtol=0, atol=1e-6)
        torch.testing.assert_close(found[2], turn(expected[2]))
        torch.testing.assert_close(found[5], turn(expected[5]), rtol=0, atol=1e-6)
        # Without it the same turn does change the answer.
        assert (answers(free, turn(original))[0] - answers(free, original)[0]).abs().max() > 1e-6
