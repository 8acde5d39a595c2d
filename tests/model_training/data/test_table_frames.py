"""The files that a table names: which cannot be used, how masks turn, and what stays together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.ExifTags import Base

from model_training.data.frames import FrameError, FrameSet, prepare_frames
from model_training.data.pictures import DatasetError
from model_training.data.splits import folds_of, hold_out_share, kept_together, training_parts
from tests.model_training.data.tables import change, prepared, set_cell, sets
from tests.synthetic import FIVE_CLASSES, write_table


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A table with splits."""
    return write_table(tmp_path, "clinic5", size=48, splits={"train": 20, "validation": 10, "test": 10}, seed=0)


def test_files_that_cannot_be_used_are_named_by_row_all_at_once(file: Path) -> None:
    folder = file.parent
    (folder / "pictures/case-train0.jpg").write_bytes(b"no picture")
    Image.new("L", (30, 48), 255).save(folder / "masks/case-train3.png")
    Image.new("L", (48, 48), 1).save(folder / "masks/case-train5.png")
    Image.new("L", (48, 48), 255).save(folder / "masks/case-train6.png", "JPEG")
    with pytest.raises(FrameError) as error:
        prepared(file)
    title, *lines = str(error.value).splitlines()
    assert title == "clinic5-train cannot be prepared:"
    for line, (row, said) in zip(
        lines,
        {
            2: "pictures/case-train0.jpg",
            5: "30 x 48, its image is 48 x 48; save the mask at the image's size",
            7: "no pixel is above 128, the highest is 1; draw the lesion as 255",
            8: "not a readable mask",
        }.items(),
        strict=True,
    ):
        assert line.strip().startswith(f"clinic5.csv, row {row}: ")
        assert said in line
    assert list((folder.parent / "cache").iterdir()) == []


def turn(path: Path, orientation: int) -> None:
    """Store the same upright image turned, and say so."""
    turns = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90}
    stored = Image.open(path).transpose(turns[orientation])
    exif = stored.getexif()
    exif[Base.Orientation] = orientation
    stored.save(path, quality=95, exif=exif)


@pytest.mark.parametrize("stored_turned", [True, False], ids=["drawn on stored pixels", "drawn upright"])
def test_a_mask_is_turned_with_its_picture(file: Path, stored_turned: bool) -> None:
    picture, mask = file.parent / "pictures/case-train0.jpg", file.parent / "masks/case-train0.png"
    for path in (picture, mask):
        Image.open(path).crop((0, 8, 48, 40)).save(path)  # wider than high
    expected = prepared(file).masks[0].copy()
    turn(picture, 6)
    if stored_turned:
        Image.open(mask).transpose(Image.Transpose.ROTATE_90).save(mask)
    np.testing.assert_array_equal(prepared(file).masks[0], expected)


def test_a_mask_that_fits_a_turned_picture_both_ways_is_named(file: Path) -> None:
    turn(file.parent / "pictures/case-train0.jpg", 3)
    with pytest.raises(FrameError, match=r"row 2: .*fits both ways; save both upright"):
        prepared(file)


def test_groups_stay_together(tmp_path: Path) -> None:
    """Sixteen images of eight patients; a copy links two of them."""
    file = write_table(tmp_path, "clinic5", size=32, splits={"": 40}, seed=0)
    (file.parent / "pictures/case-5.jpg").write_bytes((file.parent / "pictures/case-20.jpg").read_bytes())
    frames = prepared(file, "clinic5")
    together = kept_together(frames)
    assert len(set(together.tolist())) == 19
    assert together[4] == together[5] == together[20] == together[21]
    for fold_N in (folds_of(frames), folds_of(frames, 3)):
        assert all(len(set(fold_N[together == leader].tolist())) == 1 for leader in set(together.tolist()))
        assert len(set(fold_N.tolist())) > 2
    for seed in range(5):
        rest, part = hold_out_share(frames, 0.3, seed=seed)
        assert rest.groups is not None
        assert part.groups is not None
        assert len(part.groups) == len(part) > 0
        assert not set(rest.groups) & set(part.groups)


def test_a_group_changes_the_digest_and_no_group_does_not(file: Path) -> None:
    digest = prepared(file).digest
    change(file, set_cell(3, group="somebody else"))
    assert prepared(file).digest != digest
    change(file, lambda rows: [row.update(group="") for row in rows])
    assert prepared(file).groups is None


def parts(file: Path, *settings: str) -> tuple[FrameSet, FrameSet]:
    own = sets(file, *settings)
    return training_parts(own, lambda name: prepare_frames(own.read(name), file.parent / "cache", 32), seed=0)


def test_parts_that_cannot_be_trained_on_are_named(file: Path, tmp_path: Path) -> None:
    split = ("data.train=clinic5-train", "data.validation=clinic5-validation")
    train, validation = parts(file, *split)
    assert (len(train), len(validation)) == (20, 10)
    with pytest.raises(DatasetError, match=r"isic2017-validation has other classes than clinic5-train; set data.valid"):
        parts(file, split[0])
    change(file, lambda rows: [r.update(label="nevus") for r in rows[20:] if r["label"] in FIVE_CLASSES[:2]])
    with pytest.raises(DatasetError, match="clinic5-validation has no image of a malignant class: add some"):
        parts(file, *split)
    one = write_table(tmp_path / "one", "clinic5", size=32, splits={"": 30}, seed=0)
    change(one, lambda rows: [r.update(group="the same") for r in rows if r["label"] == "other"])
    held_out = next(f for f in range(5) if "other" in _held_out_labels(one, f))
    with pytest.raises(DatasetError, match="has no image of other: add images, of several groups, or hold out less"):
        parts(one, "data.train=clinic5", f"data.fold={held_out}")


def _held_out_labels(file: Path, fold: int) -> set[str]:
    frames = prepared(file, "clinic5")
    return {FIVE_CLASSES[k] for k in frames.labels[folds_of(frames) == fold]}
