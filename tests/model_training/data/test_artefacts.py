"""Changes of an image that leave the lesion as it is."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from model_training.data.artefacts import (
    ARTEFACTS,
    STORAGE,
    TURNS,
    Change,
    hairs,
    moved,
    random_artefacts,
    resized,
    tinted,
    turned,
    with_artefacts,
)

Frame = NDArray[np.uint8]


def lesion(side: int = 64) -> Frame:
    """A dark ellipse, off the centre, on light skin."""
    y, x = np.mgrid[:side, :side] / side
    inside = ((x - 0.55) / 0.25) ** 2 + ((y - 0.45) / 0.15) ** 2 < 1
    return np.where(inside[:, :, None], (90, 60, 50), (215, 180, 170)).astype(np.uint8)


def after(change: Change, frame: Frame, seed: int = 0) -> Frame:
    return change(frame, np.random.default_rng(seed))


@pytest.mark.parametrize(
    "change", [*TURNS.values(), *STORAGE.values(), *ARTEFACTS.values()], ids=[*TURNS, *STORAGE, *ARTEFACTS]
)
def test_a_change_keeps_the_size_and_depends_on_its_random_numbers_alone(change: Change) -> None:
    frame = lesion()
    kept = frame.copy()
    changed = after(change, frame)
    assert changed.shape == frame.shape
    assert changed.dtype == np.uint8
    np.testing.assert_array_equal(changed, after(change, frame))
    np.testing.assert_array_equal(frame, kept)
    assert (changed != frame).any()


def test_the_turns_are_the_seven_others_of_the_square() -> None:
    frame = lesion()
    seen = {frame.tobytes()} | {after(change, frame).tobytes() for change in TURNS.values()}
    assert len(seen) == 8


def test_the_lesion_survives_what_lies_on_it() -> None:
    """Most of it keeps its colour, whatever is drawn; twelve hairs cover more than four."""
    frame = lesion(128)
    inside = frame[:, :, 0] == 90
    covered = {}
    for name, change in ARTEFACTS.items():
        if name.startswith(("turned", "shifted", "enlarged")):
            continue
        difference = np.abs(after(change, frame).astype(int) - frame).max(axis=2)
        covered[name] = float((difference[inside] > 40).mean())
    assert max(covered.values()) < 0.4
    assert 0 < covered["4 hairs"] < covered["12 hairs"]


def test_a_move_is_the_affine_map_it_says() -> None:
    frame = lesion(64)
    np.testing.assert_array_equal(after(moved(), frame), frame)
    np.testing.assert_array_equal(after(moved(shift=(4 / 64, 0)), frame)[8:-8, 8:-8], frame[8:-8, 4:-12])
    quarter = after(moved(degrees=90), frame).astype(int)
    assert np.abs(quarter - after(turned(1, mirrored=False), frame)).mean() < 1
    area = (frame[:, :, 0] == 90).sum()
    assert (after(moved(zoom=1.2), frame)[:, :, 0] < 150).sum() == pytest.approx(area * 1.44, rel=0.05)


def test_colours_change_by_their_factors_and_end_at_white() -> None:
    frame = np.full((8, 8, 3), (100, 200, 250), np.uint8)
    assert after(tinted((1.04, 1.0, 1.1)), frame)[0, 0].tolist() == [104, 200, 255]


def test_half_the_resolution_loses_detail_and_twice_keeps_it() -> None:
    frame = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    spread = {factor: after(resized(factor), frame).std() for factor in (0.5, 2.0)}
    assert spread[0.5] < 0.75 * spread[2.0]


def test_hairs_differ_from_image_to_image() -> None:
    frame = lesion()
    assert (after(hairs(4), frame, seed=1) != after(hairs(4), frame, seed=2)).any()


def test_training_draws_them_for_a_share_of_the_frames_whoever_loads_them() -> None:
    frames = np.stack([lesion()] * 200)
    everyone = np.arange(200)
    drawn = with_artefacts(frames, everyone, 0.5, seed=(1, 0))
    changed = (drawn != frames).any(axis=(1, 2, 3))
    assert 0.3 < changed.mean() < 0.5  # some draws choose no artefact
    assert (frames == lesion()).all()
    np.testing.assert_array_equal(with_artefacts(frames, everyone[::2], 0.5, seed=(1, 0)), drawn[::2])
    assert (with_artefacts(frames, everyone, 0.5, seed=(1, 1)) != drawn).any()
    np.testing.assert_array_equal(with_artefacts(frames, everyone, 0.0, seed=(1, 0)), frames)


def test_random_artefacts_leave_most_of_the_lesion() -> None:
    frame = lesion(128)
    inside = frame[:, :, 0] == 90
    covered = []
    for seed in range(60):
        changed = random_artefacts(frame, np.random.default_rng(seed)).astype(int)
        covered.append((np.abs(changed - frame).max(axis=2)[inside] > 60).mean())
    assert max(covered) < 0.6
    assert np.mean(covered) < 0.15
