"""Synthetic dermoscopy: a seeded generator of images that look enough like it for tests without any data.

Skin with texture, one lesion with an irregular border, hair, a vignette. The class shows in the lesion alone: melanomas
are dark, two-coloured and ragged; seborrheic keratoses yellowish with bright dots; nevi brown, even and round. Tables
have two classes more: basal cell carcinomas are pink, others are green.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from model_training.data.isic import CLASSES_2017

Pixels = NDArray[np.uint8]

_BASE_COLOURS = {
    "melanoma": (70, 45, 45),
    "seborrheic_keratosis": (175, 130, 70),
    "nevus": (125, 75, 50),
    "basal_cell_carcinoma": (215, 110, 130),
    "other": (90, 120, 80),
}
_RAGGEDNESS = {
    "melanoma": 0.30,
    "seborrheic_keratosis": 0.12,
    "nevus": 0.05,
    "basal_cell_carcinoma": 0.15,
    "other": 0.10,
}
FIVE_CLASSES = ("melanoma", "basal_cell_carcinoma", "seborrheic_keratosis", "nevus", "other")


@dataclass(frozen=True)
class SyntheticPicture:
    """A square image ``[N, N, 3]``, its mask ``[N, N]`` of 0 and 255, and its class."""

    pixels: Pixels
    mask: Pixels
    diagnosis: str


def synthesise(diagnosis: str, size: int, rng: np.random.Generator) -> SyntheticPicture:
    """Draw one image of ``size`` x ``size`` pixels with a lesion of ``diagnosis``, one of ``FIVE_CLASSES``."""
    mask = _lesion_mask(size, _RAGGEDNESS[diagnosis], rng)
    skin = np.array([222, 176, 150]) + rng.normal(0, 10, 3)
    picture = np.broadcast_to(skin, (size, size, 3)) + _texture(size, 5, rng)[..., None] * 8
    lesion = np.array(_BASE_COLOURS[diagnosis]) + rng.normal(0, 6, 3)
    colour = np.broadcast_to(lesion, (size, size, 3)) + _texture(size, 9, rng)[..., None] * 10
    if diagnosis == "melanoma":
        veil = _texture(size, 4, rng)[..., None] > 0.4
        colour = np.where(veil, colour * 0.5 + np.array([45, 55, 80]), colour)
    if diagnosis == "seborrheic_keratosis":
        dots = rng.random((size, size, 1)) > 0.98
        colour = np.where(dots, 245.0, colour)
    soft = np.asarray(Image.fromarray(mask).filter(ImageFilter.GaussianBlur(size / 100)), dtype=np.float64) / 255
    picture = picture * (1 - soft[..., None]) + colour * soft[..., None]
    with_hair = _draw_hair(Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)), rng)
    vignetted = np.asarray(with_hair) * _vignette(size, rng)[..., None]
    return SyntheticPicture(vignetted.astype(np.uint8), mask, diagnosis)


def _lesion_mask(size: int, raggedness: float, rng: np.random.Generator) -> Pixels:
    angles = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    radius = np.full_like(angles, rng.uniform(0.18, 0.32))
    for order in range(2, 9):
        wave = rng.normal(0, raggedness / order)
        radius *= 1 + wave * np.cos(order * angles + rng.uniform(0, 2 * np.pi))
    centre = rng.uniform(0.42, 0.58, 2)
    stretch = rng.uniform(0.8, 1.25)
    points = [
        (size * (centre[0] + r * np.cos(a) * stretch), size * (centre[1] + r * np.sin(a) / stretch))
        for a, r in zip(angles, radius, strict=True)
    ]
    canvas = Image.new("L", (size, size), 0)
    ImageDraw.Draw(canvas).polygon(points, fill=255)
    return np.asarray(canvas)


def _texture(size: int, cells: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Smooth noise of about ``cells`` bumps a side."""
    coarse = Image.fromarray(rng.normal(0, 1, (cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), dtype=np.float64)


def _draw_hair(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    draw = ImageDraw.Draw(picture)
    size = picture.width
    for _ in range(rng.integers(0, 7)):
        start, bend, end = rng.uniform(0, size, (3, 2))
        t = np.linspace(0, 1, 20)[:, None]
        curve = (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end
        draw.line([(float(x), float(y)) for x, y in curve], fill=(50, 35, 30), width=max(1, size // 150))
    return picture


def _vignette(size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    axis = np.linspace(-1, 1, size)
    distance = np.hypot(axis[:, None], axis[None, :])
    edge = rng.uniform(1.05, 1.4)
    return np.clip((edge - distance) / 0.15, 0.15, 1.0)


def write_isic2017(root: Path, *, size: int, train: int, validation: int, test: int, seed: int) -> None:
    """Write an ISIC 2017 folder tree below ``root`` in the official layout, with so many images a split.

    The classes take turns, so that each split of three or more holds all of them.
    """
    rng = np.random.default_rng(seed)
    base = root / "isic2017"
    first = 0
    for split, count in (("Training", train), ("Validation", validation), ("Test_v2", test)):
        stem = f"ISIC-2017_{split}"
        drawn = {f"ISIC_{first + i:07d}": synthesise(CLASSES_2017[i % 3], size, rng) for i in range(count)}
        first += count
        _write_pictures(drawn, base / f"{stem}_Data", base / f"{stem}_Part1_GroundTruth", "_segmentation")
        rows = [[id, *(f"{float(p.diagnosis == c):.1f}" for c in CLASSES_2017[:2])] for id, p in drawn.items()]
        _write_rows(base / f"{stem}_Part3_GroundTruth.csv", [["image_id", *CLASSES_2017[:2]], *rows])


def write_isic2016(root: Path, *, size: int, train: int, test: int, seed: int) -> None:
    """Write an ISIC 2016 folder tree (Parts 1 and 3) below ``root`` in the official layout.

    Malignant images, which are melanomas, and benign ones take turns.
    """
    rng = np.random.default_rng(seed)
    base = root / "isic2016"
    first = 0
    for split, count, (benign, malignant) in (
        ("Training", train, ("benign", "malignant")),
        ("Test", test, ("0.0", "1.0")),
    ):
        stem = "ISBI2016_ISIC_Part"
        turns = ("melanoma", "nevus", "melanoma", "seborrheic_keratosis")
        drawn = {f"ISIC_{first + i:07d}": synthesise(turns[i % 4], size, rng) for i in range(count)}
        first += count
        pictures, masks = base / f"{stem}3_{split}_Data", base / f"{stem}1_{split}_GroundTruth"
        _write_pictures(drawn, pictures, masks, "_Segmentation")
        rows = [[id, malignant if p.diagnosis == "melanoma" else benign] for id, p in drawn.items()]
        _write_rows(base / f"{stem}3_{split}_GroundTruth.csv", rows)


def write_table(root: Path, name: str, *, size: int, splits: Mapping[str, int], seed: int) -> Path:
    """Write a table of own images of ``FIVE_CLASSES`` into the folder ``name`` below ``root``; returns its file.

    The classes take turns, so many images a split; the split "" writes none. Two neighbours are one patient.
    """
    rng = np.random.default_rng(seed)
    folder = root / name
    rows = [["id", "image", "mask", "label", *(["split"] if "" not in splits else []), "group"]]
    for split, count in splits.items():
        drawn = {f"case-{split}{i}": synthesise(FIVE_CLASSES[i % 5], size, rng) for i in range(count)}
        _write_pictures(drawn, folder / "pictures", folder / "masks", "")
        for i, (id, picture) in enumerate(drawn.items()):
            own = [split] if split else []
            paths = [f"pictures/{id}.jpg", f"masks/{id}.png"]
            rows.append([id, *paths, picture.diagnosis, *own, f"patient-{split}{i // 2}"])
    _write_rows(folder / f"{name}.csv", rows)
    return folder / f"{name}.csv"


def _write_pictures(drawn: dict[str, SyntheticPicture], pictures: Path, masks: Path, mask_suffix: str) -> None:
    pictures.mkdir(parents=True, exist_ok=True)
    masks.mkdir(parents=True, exist_ok=True)
    for id, picture in drawn.items():
        Image.fromarray(picture.pixels).save(pictures / f"{id}.jpg", quality=90)
        Image.fromarray(picture.mask).save(masks / f"{id}{mask_suffix}.png")


def _write_rows(path: Path, rows: list[list[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
