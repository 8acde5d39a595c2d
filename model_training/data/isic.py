"""Readers for the official folder layouts of the ISIC 2016 (Parts 1, 3, 3B) and ISIC 2017 (Parts 1, 3) challenges.

The ground-truth table decides which images belong to a set and in which order; images and masks are found by id.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from model_training.data.pictures import DatasetError, PictureSet, Sample
from service.bundle import DiagnosisClass

DIAGNOSES = {
    "melanoma": DiagnosisClass(name="melanoma", label="Melanoma", role="malignant", snomed_ct="93655004"),
    "seborrheic_keratosis": DiagnosisClass(
        name="seborrheic_keratosis", label="Seborrheic keratosis", role="benign", snomed_ct="25499005"
    ),
    "nevus": DiagnosisClass(name="nevus", label="Nevus", role="benign", snomed_ct="400096001"),
    "benign": DiagnosisClass(name="benign", label="Benign", role="benign"),
    "malignant": DiagnosisClass(name="malignant", label="Malignant (melanoma)", role="malignant", snomed_ct="93655004"),
}
CLASSES_2016 = ("benign", "malignant")
CLASSES_2017 = ("melanoma", "seborrheic_keratosis", "nevus")
# The tasks of 2017, each against the rest: melanoma and seborrheic keratosis.
SCORED_2017 = (0, 1)


@dataclass(frozen=True)
class _Layout:
    """Official names of one set; the first table, image folder and mask folder that exist are used."""

    year: int
    tables: tuple[str, ...]
    pictures: tuple[str, ...]
    masks: tuple[str, ...]

    @property
    def folder(self) -> str:
        return f"isic{self.year}"

    @property
    def classes(self) -> tuple[str, ...]:
        return CLASSES_2016 if self.year == 2016 else CLASSES_2017


def _layout_2016(split: str) -> _Layout:
    bundled = f"ISBI2016_ISIC_Part3B_{split}_Data"
    return _Layout(
        2016,
        (f"ISBI2016_ISIC_Part3_{split}_GroundTruth.csv", f"ISBI2016_ISIC_Part3B_{split}_GroundTruth.csv"),
        (f"ISBI2016_ISIC_Part3_{split}_Data", bundled, f"ISBI2016_ISIC_Part1_{split}_Data"),
        (f"ISBI2016_ISIC_Part1_{split}_GroundTruth", bundled),
    )


def _layout_2017(split: str) -> _Layout:
    stem = f"ISIC-2017_{split}"
    return _Layout(2017, (f"{stem}_Part3_GroundTruth.csv",), (f"{stem}_Data",), (f"{stem}_Part1_GroundTruth",))


_LAYOUTS = {
    "isic2016-train": _layout_2016("Training"),
    "isic2016-test": _layout_2016("Test"),
    "isic2017-train": _layout_2017("Training"),
    "isic2017-validation": _layout_2017("Validation"),
    "isic2017-test": _layout_2017("Test_v2"),
}
SET_NAMES = tuple(_LAYOUTS)


@dataclass(frozen=True)
class OfficialSets:
    """The official sets below ``root``, as a source of sets."""

    root: Path
    names = SET_NAMES

    def classes(self, name: str) -> tuple[DiagnosisClass, ...]:
        """The classes of the challenge, in the order of its labels."""
        return tuple(DIAGNOSES[each] for each in _LAYOUTS[name].classes)

    def read(self, name: str, *, allow_missing: bool) -> PictureSet:
        """As :func:`read_set`."""
        return read_set(self.root, name, allow_missing=allow_missing)


def read_set(root: Path, name: str, *, allow_missing: bool = False) -> PictureSet:
    """Read the set ``name`` (one of ``SET_NAMES``) below ``root``, the folder that holds ``isic2016/``, ``isic2017/``.

    With ``allow_missing``, ids without an image are left out, and masks may be missing; otherwise both raise
    :class:`DatasetError`, as does a table that differs from the published one.
    """
    if name not in _LAYOUTS:
        raise DatasetError(f"there is no set {name!r}; the sets are: {', '.join(SET_NAMES)}")
    layout = _LAYOUTS[name]
    base = root / layout.folder
    table = next((base / t for t in layout.tables if (base / t).is_file()), None)
    if table is None:
        wanted = " or ".join(layout.tables)
        raise DatasetError(f"{base} has no {wanted}; point CIN_DATA at the folder that holds {layout.folder}/")
    pictures = _files_by_id(base, layout.pictures, suffix="", extensions=(".jpg", ".jpeg", ".png"))
    masks = _files_by_id(base, layout.masks, suffix="_segmentation", extensions=(".png",))
    labels = dict(_read_labels(table, layout))
    missing_pictures = tuple(id for id in labels if id not in pictures)
    missing_masks = tuple(id for id in labels if id in pictures and id not in masks)
    if not allow_missing and (missing_pictures or missing_masks):
        raise DatasetError(
            f"{name}: {_name_ids('an image', missing_pictures)}; {_name_ids('a mask', missing_masks)}. "
            "Complete the set, or continue without them: --set data.allow_missing=true"
        )
    samples = tuple(Sample(id, pictures[id], masks.get(id), label) for id, label in labels.items() if id in pictures)
    if not samples:
        raise DatasetError(f"{name}: none of the images named in {table.name} is below {base}")
    return PictureSet(name, layout.classes, samples, missing_pictures, missing_masks)


def _name_ids(what: str, ids: tuple[str, ...]) -> str:
    if not ids:
        return f"none without {what}"
    shown = ", ".join(ids[:10]) + (", ..." if len(ids) > 10 else "")
    return f"{len(ids)} without {what}: {shown}"


def _files_by_id(base: Path, folders: tuple[str, ...], *, suffix: str, extensions: tuple[str, ...]) -> dict[str, Path]:
    """Files named id + suffix + extension, by id.

    Upper and lower case differ between the years. Other files, such as superpixels, do not have ids as names.
    """
    folder = next((base / f for f in folders if (base / f).is_dir()), None)
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder else ():
        stem = path.stem.lower()
        if path.suffix.lower() in extensions and stem.endswith(suffix):
            found[path.stem[: len(stem) - len(suffix)]] = path
    return found


def _is_id(text: str) -> bool:
    return text.startswith("ISIC_") and text[5:].isdigit()


def _read_labels(table: Path, layout: _Layout) -> Iterator[tuple[str, int]]:
    with table.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file)
        if layout.year == 2017 and next(rows, None) != ["image_id", "melanoma", "seborrheic_keratosis"]:
            raise DatasetError(f"{table}, line 1: expected image_id,melanoma,seborrheic_keratosis")
        seen: set[str] = set()
        for row in rows:
            if not row:
                continue
            where = f"{table}, line {rows.line_num}"
            label = _label_2016(row) if layout.year == 2016 else _label_2017(row)
            if label is None or not _is_id(row[0]):
                raise DatasetError(f"{where}: not a row of this table: {','.join(row)}")
            if row[0] in seen:
                raise DatasetError(f"{where}: {row[0]} is there twice")
            seen.add(row[0])
            yield row[0], label


def _label_2016(row: list[str]) -> int | None:
    names = {"benign": 0, "malignant": 1, "0": 0, "0.0": 0, "1": 1, "1.0": 1}
    return names.get(row[1].strip()) if len(row) == 2 else None


def _label_2017(row: list[str]) -> int | None:
    positive = {(1.0, 0.0): 0, (0.0, 1.0): 1, (0.0, 0.0): 2}
    try:
        melanoma, keratosis = (float(text) for text in row[1:])
    except ValueError:
        return None
    return positive.get((melanoma, keratosis))
