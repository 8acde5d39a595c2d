"""Prepared frames: decoded once, complete or absent, keyed by content."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import model_training.data.frames as frames_module
from model_training.data.augment import LIGHT, STRONG, Augmentation, change_colours, random_colours, random_views
from model_training.data.frames import FrameError, FrameSet, prepare_frames
from model_training.data.isic import read_set
from model_training.data.pictures import PictureSet
from model_training.data.sampling import random_batches, random_pair_batches
from service.imaging import read_picture
from tests.synthetic import write_isic2017


@pytest.fixture
def pictures(tmp_path: Path) -> PictureSet:
    write_isic2017(tmp_path / "data", size=48, train=5, validation=3, test=3, seed=0)
    return read_set(tmp_path / "data", "isic2017-train")


def test_frames_are_what_the_service_sees(pictures: PictureSet, tmp_path: Path) -> None:
    prepared = prepare_frames(pictures, tmp_path / "cache", 32)
    for i, sample in enumerate(pictures.samples):
        assert np.array_equal(prepared.frames[i], read_picture(sample.picture.read_bytes(), 32).frame)
        assert set(np.unique(prepared.masks[i])) <= {0, 255}
    assert prepared.labels.tolist() == [0, 1, 2, 0, 1]
    assert isinstance(prepared.frames, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        prepared.frames[0, 0, 0, 0] = 1


def test_a_prepared_set_is_opened_without_decoding(
    pictures: PictureSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prepare_frames(pictures, tmp_path / "cache", 32)

    def refuse(*_: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(frames_module, "read_picture", refuse)
    assert prepare_frames(pictures, tmp_path / "cache", 32).digest == first.digest


def test_other_content_or_settings_are_another_set(pictures: PictureSet, tmp_path: Path) -> None:
    def digest(size: int = 32) -> str:
        return prepare_frames(pictures, tmp_path / "cache", size).digest

    before = digest()
    assert digest(40) != before
    Image.new("RGB", (48, 48), "red").save(pictures.samples[0].picture, quality=95)
    assert digest() != before


def test_a_prepared_set_that_is_damaged_is_named(pictures: PictureSet, tmp_path: Path) -> None:
    prepare_frames(pictures, tmp_path / "cache", 64)
    (folder,) = (tmp_path / "cache").iterdir()
    frames = folder / "frames.npy"
    frames.write_bytes(frames.read_bytes()[:500])
    with pytest.raises(FrameError, match=f"{folder.name} is damaged .* delete it to prepare it again"):
        prepare_frames(pictures, tmp_path / "cache", 64)


def test_a_broken_picture_leaves_nothing_behind(pictures: PictureSet, tmp_path: Path) -> None:
    broken = pictures.samples[3].picture
    broken.write_bytes(broken.read_bytes()[:200])
    with pytest.raises(FrameError, match=broken.name):
        prepare_frames(pictures, tmp_path / "cache", 32)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_mask_of_another_shape_is_refused(pictures: PictureSet, tmp_path: Path) -> None:
    mask = pictures.samples[1].mask
    assert mask is not None
    Image.new("L", (30, 48)).save(mask)
    with pytest.raises(FrameError, match="30 x 48, its image is 48 x 48"):
        prepare_frames(pictures, tmp_path / "cache", 32)


def test_pictures_without_masks_are_kept(pictures: PictureSet, tmp_path: Path) -> None:
    mask = pictures.samples[2].mask
    assert mask is not None
    mask.unlink()
    incomplete = read_set(tmp_path / "data", "isic2017-train", allow_missing=True)
    prepared: FrameSet = prepare_frames(incomplete, tmp_path / "cache", 32)
    assert prepared.has_mask.tolist() == [True, True, False, True, True]
    assert not prepared.masks[2].any()


def test_batches_hold_every_picture_once_and_depend_on_the_epoch() -> None:
    batches = random_batches(20, 5, seed=1, epoch=0)
    assert sorted(np.concatenate(batches, axis=1)[0].tolist()) == list(range(20))
    again, next_epoch = (random_batches(20, 5, seed=1, epoch=e) for e in (0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(batches, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(batches, next_epoch, strict=True))
    assert [b.shape for b in random_batches(22, 5, seed=1, epoch=0)] == [(1, 5)] * 4, "a part batch is dropped"
    assert [b.shape for b in random_batches(3, 5, seed=1, epoch=0)] == [(1, 3)], "unless it is all there is"


def test_pairs_are_random_and_each_side_holds_every_picture() -> None:
    batches = random_pair_batches(100, 10, seed=0, epoch=0)
    sides = np.concatenate(batches, axis=1)
    assert sorted(sides[0].tolist()) == sorted(sides[1].tolist()) == list(range(100))
    assert (sides[0] == sides[1]).mean() < 0.1
    labels = np.repeat([0, 1, 2], [37, 25, 138])
    sides = np.concatenate([b for e in range(50) for b in random_pair_batches(200, 10, seed=0, epoch=e)], axis=1)
    shares = np.array([37, 25, 138]) / 200
    assert (labels[sides[0]] == labels[sides[1]]).mean() == pytest.approx((shares**2).sum(), abs=0.02)


@pytest.mark.parametrize("most", [LIGHT, STRONG])
def test_views_keep_the_picture_in_sight(most: Augmentation) -> None:
    views = random_views(500, most, torch.Generator().manual_seed(0))
    scale = torch.linalg.det(views[:, :, :2]).abs().sqrt()
    assert 1 / most.scale - 1e-4 <= float(scale.min()) < 0.95 < 1.05 < float(scale.max()) <= most.scale + 1e-4
    assert 0.8 * most.shift < float(views[:, :, 2].abs().max()) <= most.shift
    mirrored = (torch.linalg.det(views[:, :, :2]) < 0).float().mean()
    assert 0.4 < float(mirrored) < 0.6


def test_colours_change_within_their_shares() -> None:
    grey = torch.full((200, 3, 4, 4), 0.5)
    light = change_colours(grey, random_colours(200, LIGHT, torch.Generator().manual_seed(1)))
    assert 0.5 * 0.15 * 0.9 < float((light - grey).abs().max()) <= 0.5 * 0.15 + 1e-6
    assert torch.allclose(light[:, 0], light[:, 2]), "light augmentation leaves grey grey"
    strong = change_colours(grey, random_colours(200, STRONG, torch.Generator().manual_seed(1)))
    tint = strong[:, 0] / strong[:, 2]
    assert 0.1 < float((tint - 1).abs().max()) <= 1.08 / 0.92 - 1 + 1e-6
    assert torch.equal(light, change_colours(grey, random_colours(200, LIGHT, torch.Generator().manual_seed(1))))
    pictures = torch.rand(4, 3, 8, 8)
    shares = random_colours(4, STRONG, torch.Generator().manual_seed(2))
    changed = change_colours(pictures, shares)
    assert bool((changed >= 0).all() and (changed <= 1).all())
    assert torch.equal(changed[1:2], change_colours(pictures[1:2], shares[1:2])), "images do not mix"


def test_each_colour_change_by_hand() -> None:
    """Two pixels, (0.2, 0.4, 0.6) and (0.4, 0.4, 0.4): grey values 0.4, mean 0.4."""
    picture = torch.tensor([[0.2, 0.4], [0.4, 0.4], [0.6, 0.4]])[None, :, None, :]
    expected = {
        0: [[0.22, 0.44], [0.44, 0.44], [0.66, 0.44]],  # brightness: times 1.1
        1: [[0.18, 0.4], [0.4, 0.4], [0.62, 0.4]],  # contrast: 1.1 times as far from the mean
        2: [[0.18, 0.4], [0.4, 0.4], [0.62, 0.4]],  # saturation: 1.1 times as far from the pixel's grey
        5: [[0.2, 0.4], [0.4, 0.4], [0.66, 0.44]],  # blue: times 1.1
    }
    for share, values in expected.items():
        shares = torch.zeros(1, 6)
        shares[0, share] = 0.1
        torch.testing.assert_close(change_colours(picture, shares)[0, :, 0], torch.tensor(values))
    # What is grey keeps its colour, whatever its contrast.
    grey = torch.tensor([[0.2, 0.6]]).expand(3, 2)[None, :, None, :]
    contrast, saturation = torch.eye(6)[1:2] * 0.1, torch.eye(6)[2:3] * 0.1
    torch.testing.assert_close(change_colours(grey, contrast)[0, 0, 0], torch.tensor([0.18, 0.62]))
    torch.testing.assert_close(change_colours(grey, saturation), grey)


def test_a_file_is_read_again_only_when_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_isic2017(tmp_path, size=32, train=4, validation=3, test=3, seed=1)
    pictures = read_set(tmp_path, "isic2017-train")
    before = prepare_frames(pictures, tmp_path / "cache", 32)
    read: list[Path] = []
    whole = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: (read.append(path), whole(path))[1])
    assert prepare_frames(pictures, tmp_path / "cache", 32).digest == before.digest
    assert read == []
    changed = pictures.samples[2].picture
    changed.write_bytes(pictures.samples[1].picture.read_bytes())
    read.clear()
    assert prepare_frames(pictures, tmp_path / "cache", 32).digest != before.digest
    assert changed in read
