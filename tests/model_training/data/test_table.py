"""Own images by a table, and every way in which one may be wrong."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from model_training.config import ConfigError, load_config
from model_training.data.pictures import MOST_PROBLEMS, DatasetError
from tests.model_training.data.tables import CLASSES, SETTINGS, Rows, change, prepared, read, set_cell
from tests.synthetic import FIVE_CLASSES, write_table


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A table with splits."""
    return write_table(tmp_path, "clinic5", size=48, splits={"train": 20, "validation": 10, "test": 10}, seed=0)


def test_a_table_gives_a_set_for_each_split(file: Path) -> None:
    for split, count in (("train", 20), ("validation", 10), ("test", 10)):
        pictures = read(file, f"clinic5-{split}")
        assert (pictures.name, pictures.classes, len(pictures.samples)) == (f"clinic5-{split}", FIVE_CLASSES, count)
        assert Counter(sample.label for sample in pictures.samples) == dict.fromkeys(range(5), count // 5)
    first, second, *_ = read(file).samples
    assert (first.id, first.group, first.listed) == ("case-train0", "patient-train0", "clinic5.csv, row 2")
    assert second.group == first.group
    frames = prepared(file)
    assert frames.groups is not None
    assert frames.groups[:3] == ("patient-train0", "patient-train0", "patient-train1")
    assert frames.has_mask.all()


def test_columns_may_be_in_any_order_and_a_picture_without_a_mask(file: Path) -> None:
    before = read(file)
    with file.open(newline="") as text:
        rows = list(csv.DictReader(text))
    rows[4]["mask"] = ""
    with file.open("w", newline="", encoding="utf-8-sig") as text:  # as Excel does
        writer = csv.DictWriter(text, ["split", "label", "group", "mask", "image", "id"], lineterminator="\r\n")
        writer.writeheader()
        writer.writerows(rows)
    after = read(file)
    assert [s.picture for s in after.samples] == [s.picture for s in before.samples]
    assert [i for i, s in enumerate(after.samples) if s.mask is None] == [4]
    assert after.missing_masks == ()


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (set_cell(3, image="pictures/none.jpg"), r"row 3: image 'pictures/none.jpg' is not there.*; correct its path"),
        (set_cell(3, mask="masks/none.png"), r"row 3: mask 'masks/none.png' is not there.*, or leave the cell empty"),
        (set_cell(3, image=""), r"row 3: no image; write its path"),
        (
            set_cell(3, image="../clinic5.csv"),
            r"row 3: image '../clinic5.csv' lies outside the table's folder; move it",
        ),
        (set_cell(3, mask="/etc/passwd"), r"row 3: mask '/etc/passwd' lies outside the table's folder; move it"),
        (set_cell(3, image="a\0b"), r"row 3: image 'a\\x00b' is not there|line contains NUL"),
        (set_cell(3, split="valid"), r"row 3: unknown split 'valid'; write train, validation or test"),
        (set_cell(3, split=""), r"row 3: unknown split ''; write train, validation or test"),
        (set_cell(3, label="naevus"), r"row 3: unknown label 'naevus'; write melanoma, .* or other, or add it"),
        (
            set_cell(4, id="case-train0"),
            r"row 4: the id 'case-train0' is that of row 2 too; give every image its own",
        ),
        (set_cell(4, id=" "), r"row 4: no id; give every image its own"),
        (set_cell(4, image="pictures/case-train0.jpg"), r"row 4: its image is that of row 2 too; list every image"),
        (
            set_cell(30, group="patient-train0"),
            r"row 30: the group 'patient-train0' is in validation here and in train",
        ),
        (
            lambda rows: [r.update(label="nevus") for r in rows if r["label"] == "other"],
            "no image has the label other",
        ),
        (
            lambda rows: [r.update(label="nevus") for r in rows[5:] if r["label"] == "other"],
            r"row 6: the only image of other; add others, or remove the row and its class",
        ),
        (
            lambda rows: [r.update(label="nevus") for r in rows[:20] if r["label"] == "other"],
            r"row 26: no image of other has the split train; give some of them that split",
        ),
    ],
)
def test_a_wrong_row_is_named_with_its_remedy(file: Path, edit: Callable[[Rows], object], said: str) -> None:
    change(file, edit)
    with pytest.raises(DatasetError, match=said):
        read(file)


def test_all_wrong_rows_are_named_at_once_up_to_a_limit(file: Path) -> None:
    change(file, lambda rows: [set_cell(row, label=f"l{row}")(rows) for row in (3, 9)] + [set_cell(5, split="x")(rows)])
    with pytest.raises(DatasetError) as error:
        read(file)
    lines = str(error.value).splitlines()
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["row 3", "row 5", "row 9"]
    change(file, lambda rows: [row.update(label=f"l{i}") for i, row in enumerate(rows)])
    with pytest.raises(DatasetError) as error:
        read(file)
    lines = str(error.value).splitlines()
    assert len(lines) == MOST_PROBLEMS + 2
    # Every label, every class without an image, and the split from before.
    assert lines[-1].strip() == f"... and {40 + 5 + 1 - MOST_PROBLEMS} more"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"row 1: no column id, image, mask, label; the columns are id,image,mask,label\[,split,group\]"),
        ("id,image,label\n", r"row 1: no column mask"),
        ("id;image;mask;label\n", r"row 1: the columns are not separated by commas; save the table as CSV"),
        ("id,image,mask,label,patient\n", r"row 1: unknown column 'patient'; remove it, or call it one of"),
        ("id,image,mask,label,id\n", r"row 1: a column is there twice"),
        ("id,image,mask,label\n", r"has no rows below its header"),
        (
            "id,image,mask,label\n1,a.jpg,,nevus,5\n",
            r"row 2: 5 cells, the header has 4; put cells with commas in quotes",
        ),
        ("id,image,mask,label\n\n\n1,a.jpg,,nevi\n", r"row 4: unknown label"),
        ('id,image,mask,label\n1,"a.jpg,,nevus\n', r"is not CSV .*; save it"),
        ("id,image,mask,label\n1,\xe4.jpg,,nevus\n".encode("latin-1"), r"is not UTF-8 text .*; save it as CSV UTF-8"),
    ],
)
def test_a_file_that_is_no_table(file: Path, text: str | bytes, said: str) -> None:
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DatasetError, match=said):
        read(file, "clinic5")


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError, match=r"clinic5.csv: No such file.*data\.tables gives its path from the data folder"
    ):
        read(tmp_path / "clinic5" / "clinic5.csv")


def test_a_link_out_of_the_folder_is_outside(file: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.jpg"
    secret.write_bytes((file.parent / "pictures/case-train0.jpg").read_bytes())
    (file.parent / "link.jpg").symlink_to(secret)
    change(file, set_cell(3, image="link.jpg"))
    with pytest.raises(DatasetError, match=r"row 3: image 'link.jpg' lies outside"):
        read(file)


def test_missing_files_may_be_allowed(file: Path) -> None:
    (file.parent / "pictures/case-train3.jpg").unlink()
    (file.parent / "masks/case-train4.png").unlink()
    pictures = read(file, "clinic5-train", "data.allow_missing=true")
    assert (pictures.missing_pictures, pictures.missing_masks) == (("case-train3",), ("case-train4",))
    assert len(pictures.samples) == 19


@pytest.mark.parametrize(
    ("splits", "name", "said"),
    [
        (
            {"train": 10},
            "clinic5",
            r"has a column split: name its sets clinic5-train, clinic5-validation, clinic5-test",
        ),
        ({"": 10}, "clinic5-train", r"has no column split: name it clinic5, and hold out a part with data.holdout"),
        ({"train": 10}, "clinic5-test", r"has no image with the split test"),
        ({"train": 10}, "clinic6", r"there is no set 'clinic6'; the sets are: isic2016-train, .*, clinic5 or clinic5-"),
    ],
)
def test_a_set_that_the_table_does_not_have(tmp_path: Path, splits: dict[str, int], name: str, said: str) -> None:
    file = write_table(tmp_path, "clinic5", size=32, splits=splits, seed=0)
    with pytest.raises(DatasetError, match=said):
        read(file, name)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["data.tables.clinic5=clinic5.csv"], "tables need classes: name, label and role"),
        ([*SETTINGS, "data.tables.isic2017=clinic5.csv"], "isic2017 is a challenge"),
        ([*SETTINGS, "data.tables.clinic5=/data/clinic5.csv"], "without leaving it: not /data"),
        ([*SETTINGS, "data.tables.clinic5=a/../../clinic5.csv"], "without leaving it: not a"),
        ([*SETTINGS, 'data.classes=[{name = "a", label = "A"}]'], "the class has no role"),
        ([*SETTINGS, f"data.classes=[{CLASSES}, {CLASSES}]"], "two classes have the name melanoma"),
    ],
)
def test_a_configuration_of_tables_that_cannot_be(settings: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_config(None, settings)
