"""Which images are in which group: outlines drawn on purpose, and hairs drawn over images without."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from model_training.data.artefacts import Change, changed_frames, compressed, hairs, lit, ruler, soft_vignette
from model_training.evaluation.groups import HAIRY, groups_of, hair_share
from tests.model_training.small_runs import small_frames

SIDE = 64


def test_lesions_are_grouped_by_their_outlines() -> None:
    frames = small_frames(5, SIDE)
    masks = np.zeros((5, SIDE, SIDE), dtype=np.uint8)
    masks[0, 20:30, 20:30] = 255  # 2.4 % of the image
    masks[1, 10:40, 10:40] = 255  # 22 %
    masks[2, 4:60, 4:60] = 255  # 77 %
    masks[3, 30:50, SIDE - 20 :] = 255  # 10 %, up to the right border
    masks[4, :8, :8] = 255
    groups = groups_of(replace(frames, masks=masks, has_mask=np.array([True, True, True, True, False])))
    members = {name: np.flatnonzero(flags).tolist() for name, flags in groups.items()}
    assert members["lesion below 5% of the image"] == [0]
    assert members["lesion of 5% to 30%"] == [1, 3]
    assert members["lesion above 30%"] == [2]
    assert members["lesion touches the border"] == [3]
    assert members["lesion does not touch the border"] == [0, 1, 2]
    assert sorted(members["hair"] + members["little or no hair"]) == list(range(5))


def skin() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Three images of plain skin with a soft, dark spot."""
    y, x = np.mgrid[-1:1:256j, -1:1:256j]
    spots = [np.exp(-((x / w) ** 2) - (y / h) ** 2) for w, h in ((0.2, 0.2), (0.5, 0.3), (0.2, 0.6))]
    colour = np.array([220.0, 170.0, 150.0])
    return np.stack([np.rint(colour * (1 - 0.7 * spot[:, :, None])).astype(np.uint8) for spot in spots])


def test_hairs_are_found_and_other_changes_are_none() -> None:
    def shares(change: Change) -> list[float]:
        return [hair_share(frame) for frame in changed_frames(skin(), change, jpeg_quality=75)]

    for change in (lit(1.0), ruler, soft_vignette(0.55), compressed("JPEG", 60)):
        assert max(shares(change)) < 0.2 * HAIRY
    assert min(shares(hairs(4))) > 0.2 * HAIRY
    assert min(shares(hairs(12))) >= HAIRY
