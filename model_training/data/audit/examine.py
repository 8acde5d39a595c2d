"""Reads, decodes and hashes every image and mask of a set once, for the audit."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from model_training.data.audit.near_duplicates import Greys, small_grey
from model_training.data.frames import TRAINING_LIMITS
from model_training.data.pictures import PictureSet, Sample
from service.imaging import PictureError, read_picture

# A 256-pixel copy is hashed without being resized.
FRAME_SIZE = 256


@dataclass(frozen=True)
class Examined:
    """One image of one set; ``grey`` is its small grey copy, None when it cannot be decoded."""

    set: str
    id: str
    diagnosis: str
    sha256: str
    grey: Greys | None
    problems: tuple[str, ...]

    @property
    def place(self) -> str:
        """The set and the id: ``isic2017-train/ISIC_0000000``."""
        return f"{self.set}/{self.id}"


def examine(sets: Iterable[PictureSet], *, progress: Callable[[], object] = lambda: None) -> list[Examined]:
    """Read, decode and hash every image and mask of ``sets``; ``progress`` is called after each image."""
    tasks = [(pictures, sample) for pictures in sets for sample in pictures.samples]

    def run(task: tuple[PictureSet, Sample]) -> Examined:
        return _examine(*task)

    examined: list[Examined] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for each in pool.map(run, tasks):
            examined.append(each)
            progress()
    return examined


def _examine(pictures: PictureSet, sample: Sample) -> Examined:
    problems: list[str] = []
    grey, size, sha256 = None, None, ""
    try:
        data = sample.picture.read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        picture = read_picture(data, FRAME_SIZE, TRAINING_LIMITS)
        grey, size = small_grey(picture.frame), (picture.width, picture.height)
    except (OSError, PictureError) as error:
        problems.append(f"{sample.picture.name}: {error}")
    if sample.mask is not None:
        problems += _mask_problems(sample.mask, size)
    return Examined(pictures.name, sample.id, pictures.classes[sample.label], sha256, grey, tuple(problems))


def _mask_problems(path: Path, size: tuple[int, int] | None) -> list[str]:
    try:
        with Image.open(io.BytesIO(path.read_bytes()), formats=("PNG",)) as image:
            mask = image.convert("L")
    except (OSError, ValueError, SyntaxError) as error:
        return [f"{path.name}: not a readable mask ({error})"]
    problems = []
    if size not in (None, mask.size):
        problems.append(f"{path.name}: {mask.size[0]} x {mask.size[1]}, another size than its image")
    if mask.getextrema() == (0, 0):
        problems.append(f"{path.name}: no lesion in it")
    return problems
