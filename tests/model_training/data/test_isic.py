"""The readers, on the official sets and on sets that are not as published."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from model_training.data.isic import read_set
from model_training.data.pictures import DatasetError
from tests.synthetic import write_isic2016, write_isic2017


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small set in the official layout of 2017."""
    write_isic2017(tmp_path, size=32, train=6, validation=3, test=3, seed=0)
    return tmp_path


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "num_pictures", "num_masks", "label_counts"),
    [
        ("isic2017-train", 2000, 2000, [374, 254, 1372]),
        ("isic2017-validation", 150, 150, [30, 42, 78]),
        ("isic2017-test", 600, 529, [117, 90, 393]),
        ("isic2016-train", 898, 846, [725, 173]),
        ("isic2016-test", 354, 352, [283, 71]),
    ],
)
def test_official_sets(data_root: Path, name: str, num_pictures: int, num_masks: int, label_counts: list[int]) -> None:
    pictures = read_set(data_root, name, allow_missing=True)
    assert len(pictures.samples) == num_pictures
    assert sum(sample.mask is not None for sample in pictures.samples) == num_masks
    labels = [sample.label for sample in pictures.samples]
    assert [labels.count(k) for k in range(len(pictures.classes))] == label_counts
    for sample in pictures.samples:
        assert sample.id in sample.picture.name
        assert sample.mask is None or sample.id in sample.mask.name


@pytest.mark.data
def test_missing_ids_are_named(data_root: Path) -> None:
    with pytest.raises(DatasetError, match=r"none without an image; 71 without a mask: ISIC_\d+, .*allow_missing=true"):
        read_set(data_root, "isic2017-test")
    with pytest.raises(DatasetError, match="2 without an image"):
        read_set(data_root, "isic2016-train")


def test_pictures_and_masks_are_paired_by_id(root: Path) -> None:
    folder = root / "isic2017" / "ISIC-2017_Training_Data"
    (folder / "ISIC_0000000_superpixels.png").write_bytes(b"not a picture of the set")
    (folder / "ISIC_0000002.jpg").unlink()
    pictures = read_set(root, "isic2017-train", allow_missing=True)
    assert pictures.missing_pictures == ("ISIC_0000002",)
    assert [s.id for s in pictures.samples] == [f"ISIC_{i:07d}" for i in (0, 1, 3, 4, 5)]
    assert [s.label for s in pictures.samples] == [0, 1, 0, 1, 2]
    for sample in pictures.samples:
        assert sample.picture.stem == sample.id
        assert sample.mask is not None
        assert sample.mask.stem == f"{sample.id}_segmentation"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("image_id,", "id,", "line 1: expected image_id"),
        ("ISIC_0000001,0.0,1.0", "ISIC_0000001,1.0,1.0", r"line 3: not a row of this table: ISIC_0000001,1.0,1.0"),
        ("ISIC_0000001,0.0,1.0", "ISIC_0000001,0.0", "line 3: not a row"),
        ("ISIC_0000001,0.0,1.0", "ISIC_0000001,0.0,much", "line 3: not a row"),
        ("ISIC_0000001,0.0,1.0", "ISIC_0000000,0.0,1.0", "line 3: ISIC_0000000 is there twice"),
    ],
)
def test_a_table_that_is_not_as_published(root: Path, old: str, new: str, message: str) -> None:
    table = root / "isic2017" / "ISIC-2017_Training_Part3_GroundTruth.csv"
    table.write_text(table.read_text().replace(old, new))
    with pytest.raises(DatasetError, match=message):
        read_set(root, "isic2017-train")


@pytest.mark.parametrize("part", ["3", "3B"])
def test_2016_tables_and_the_bundled_part_3b(tmp_path: Path, part: str) -> None:
    base = tmp_path / "isic2016"
    bundled = base / "ISBI2016_ISIC_Part3B_Training_Data"
    bundled.mkdir(parents=True)
    for id in ("ISIC_0000000", "ISIC_0000001"):
        (bundled / f"{id}.jpg").write_bytes(b"")
        (bundled / f"{id}_Segmentation.png").write_bytes(b"")
    table = base / f"ISBI2016_ISIC_Part{part}_Training_GroundTruth.csv"
    for rows in ("ISIC_0000000,benign\nISIC_0000001,malignant\n", "ISIC_0000000,0\nISIC_0000001,1.0\n"):
        table.write_text(rows)
        pictures = read_set(tmp_path, "isic2016-train")
        assert pictures.classes == ("benign", "malignant")
        assert [(s.id, s.label) for s in pictures.samples] == [("ISIC_0000000", 0), ("ISIC_0000001", 1)]
        assert all(s.mask is not None and s.mask.name.endswith("_Segmentation.png") for s in pictures.samples)


@pytest.mark.parametrize("row", ["ISIC_0000001", "ISIC_0000001,perhaps", "ISIC_0000001,0,1", "mole,benign"])
def test_a_2016_table_that_is_not_as_published(tmp_path: Path, row: str) -> None:
    write_isic2016(tmp_path, size=32, train=2, test=0, seed=0)
    table = tmp_path / "isic2016" / "ISBI2016_ISIC_Part3_Training_GroundTruth.csv"
    table.write_text(f"ISIC_0000000,malignant\n{row}\n")
    with pytest.raises(DatasetError, match=f"line 2: not a row of this table: {row}"):
        read_set(tmp_path, "isic2016-train")


def test_no_more_than_ten_missing_ids_are_named(tmp_path: Path) -> None:
    write_isic2016(tmp_path, size=32, train=13, test=0, seed=0)
    masks = sorted((tmp_path / "isic2016" / "ISBI2016_ISIC_Part1_Training_GroundTruth").iterdir())
    for mask in masks[1:]:
        mask.unlink()
    with pytest.raises(DatasetError, match=r"12 without a mask: ISIC_0000001, .*, ISIC_0000010, \.\.\. *\."):
        read_set(tmp_path, "isic2016-train")


def test_no_data_and_no_such_set(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="point CIN_DATA at the folder that holds isic2017/"):
        read_set(tmp_path, "isic2017-train")
    with pytest.raises(DatasetError, match=re.escape("the sets are: isic2016-train, isic2016-test")):
        read_set(tmp_path, "isic2018-train")
