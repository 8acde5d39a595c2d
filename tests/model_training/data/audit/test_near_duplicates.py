"""Hashes and correlations of images that look alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model_training.data.audit.near_duplicates import hashes, similar_pairs, small_grey, turned
from model_training.data.download.official import CLASS_COUNTS
from model_training.data.isic import read_set
from tests.synthetic import synthesise


def literal_hash(frame: np.ndarray) -> int:
    """Each bit by the sum that defines its cosine frequency."""
    grey = np.asarray(Image.fromarray(frame).convert("L").resize((32, 32), Image.Resampling.BILINEAR), dtype=float)
    bits = 1
    for u in range(8):
        for v in range(8):
            rows = np.cos(np.pi * u * (2 * np.arange(32) + 1) / 64)
            columns = np.cos(np.pi * v * (2 * np.arange(32) + 1) / 64)
            bits |= int((grey * rows[:, None] * columns[None, :]).sum() > 0) << (8 * u + v)
    return bits


def test_the_hash_is_what_its_definition_says() -> None:
    rng = np.random.default_rng(0)
    for diagnosis in ("melanoma", "nevus"):
        frame = synthesise(diagnosis, 80, rng).pixels
        [found] = hashes(small_grey(frame)[None])
        assert int(found) == literal_hash(frame)


def test_the_eight_turns_are_all_there() -> None:
    square = np.arange(9, dtype=np.float32).reshape(1, 3, 3)
    expected = {np.rot90(g, k).tobytes() for g in (square[0], square[0].T) for k in range(4)}
    assert {np.ascontiguousarray(g).tobytes() for g in turned(square)[0]} == expected
    assert (turned(square)[0, 0] == square[0]).all()


def test_pairs_are_found_whichever_of_the_two_was_turned() -> None:
    rng = np.random.default_rng(0)
    greys = np.stack([small_grey(synthesise("melanoma", 96, rng).pixels) for _ in range(4)])
    greys = np.concatenate([greys, np.rot90(greys[1:2], 1, axes=(1, 2))])
    for order in (np.arange(5), np.arange(5)[::-1]):
        [pair] = similar_pairs(greys[order])
        assert {int(order[pair.first]), int(order[pair.second])} == {1, 4}
        assert (pair.distance, pair.correlation) == (0, 1.0)


def test_blank_pictures_are_like_nothing() -> None:
    assert similar_pairs(np.full((3, 32, 32), 200, dtype=np.float32)) == []
    assert similar_pairs(np.zeros((0, 32, 32), dtype=np.float32)) == []


def test_pairs_across_blocks_are_found_once() -> None:
    greys = np.random.default_rng(0).uniform(0, 255, (5, 32, 32)).astype(np.float32)
    greys[4] = greys[0]
    assert [(pair.first, pair.second) for pair in similar_pairs(greys, block_size=2)] == [(0, 4)]


@pytest.mark.data
def test_originals_are_recognised_as_their_copies(data_root: Path) -> None:
    originals = sorted(path for path in (data_root / "samples").iterdir() if path.stem.startswith("ISIC_"))
    copies = {s.id: s.picture for n in CLASS_COUNTS for s in read_set(data_root, n, allow_missing=True).samples}
    compared = 0
    for path in originals:
        if path.stem in copies:
            original, copy = (
                np.asarray(Image.open(p).convert("RGB").resize((256, 256))) for p in (path, copies[path.stem])
            )
            [pair] = similar_pairs(np.stack([small_grey(original), small_grey(copy)]))
            assert pair.distance == (literal_hash(original) ^ literal_hash(copy)).bit_count() <= 4
            compared += 1
    assert compared >= 5
