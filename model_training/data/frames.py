"""Prepared frames: every image of a set, decoded once and kept in one memory-mapped uint8 array.

The frames come from :func:`service.imaging.read_picture`, which the service uses too, so training and serving see the
same pixels. A prepared set is a folder named by the SHA-256 of everything it depends on (bytes of images and masks,
labels, frame size, format version), so a stale set is never read.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from model_training.data.masks import LESION_ABOVE, MaskError, read_mask
from model_training.data.pictures import PictureSet, Sample, listed
from model_training.data.tensors import frame_tensor
from model_training.network.orientation import canonical_orientation, orient
from service.imaging import PictureError, PictureLimits, read_picture

FORMAT_VERSION = 1

# Research sets contain originals much larger than a service accepts.
TRAINING_LIMITS = PictureLimits(max_bytes=200 * 2**20, max_pixels=200_000_000)

Progress = Callable[[int, int], None]


class FrameError(ValueError):
    """An image or mask of the set cannot be used; the text names the file."""


@dataclass(frozen=True)
class FrameSet:
    """A prepared set of N images; the arrays are read-only memory maps."""

    name: str
    digest: str
    classes: tuple[str, ...]
    ids: tuple[str, ...]
    frames: NDArray[np.uint8]  # [N, F, F, 3], sRGB
    masks: NDArray[np.uint8]  # [N, F, F], 0 or 255; all zero where has_mask is False
    has_mask: NDArray[np.bool_]  # [N]
    labels: NDArray[np.int64]  # [N], index into classes
    # The group of each image, None for a group of its own; None for a set without groups.
    groups: tuple[str | None, ...] | None = None

    def __len__(self) -> int:
        return len(self.ids)


def prepare_frames(
    pictures: PictureSet,
    cache: Path,
    frame_size: int,
    *,
    canonical: bool = False,
    progress: Progress = lambda done, total: None,
) -> FrameSet:
    """Prepare ``pictures`` in ``cache``, unless that was done before, and open them.

    With ``canonical``, frames and masks are in the orientation of :mod:`model_training.network.orientation`.
    The folder appears complete or not at all. Raises :class:`FrameError` for images or masks that cannot be read, and
    for masks of another shape than their images: for all of them together.
    """
    digest = _digest(pictures, frame_size, canonical)
    folder = cache / f"{pictures.name}-{frame_size}-{digest[:16]}"
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".preparing-", dir=cache))
        try:
            _write(pictures, scratch, frame_size, digest, progress, canonical=canonical)
            try:
                scratch.rename(folder)
            except OSError:
                if not folder.is_dir():  # else another process has just prepared the same set
                    raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return open_frames(folder)


def picture_digests(frames_NFF3: NDArray[np.uint8]) -> list[str]:
    """The SHA-256 of every frame's pixels, which identifies equal images under different ids."""
    return [hashlib.sha256(frame.tobytes()).hexdigest() for frame in frames_NFF3]


def open_frames(folder: Path) -> FrameSet:
    """Open a prepared set. Raises :class:`FrameError` for a damaged one."""
    try:
        return _open(folder)
    except (ValueError, EOFError, OSError) as error:
        raise FrameError(f"{folder} is damaged ({error}); delete it to prepare it again") from error


def _open(folder: Path) -> FrameSet:
    about = json.loads((folder / "set.json").read_text(encoding="utf-8"))
    return FrameSet(
        name=about["name"],
        digest=about["digest"],
        classes=tuple(about["classes"]),
        ids=tuple(about["ids"]),
        frames=np.load(folder / "frames.npy", mmap_mode="r", allow_pickle=False),
        masks=np.load(folder / "masks.npy", mmap_mode="r", allow_pickle=False),
        has_mask=np.asarray(about["has_mask"], dtype=np.bool_),
        labels=np.asarray(about["labels"], dtype=np.int64),
        groups=tuple(about["groups"]) if "groups" in about else None,
    )


def _digest(pictures: PictureSet, frame_size: int, canonical: bool) -> str:
    orientation = " canonical" if canonical else ""
    digest = hashlib.sha256(f"{FORMAT_VERSION} {frame_size} {pictures.name} {pictures.classes}{orientation}".encode())
    for sample in pictures.samples:
        group = "" if sample.group is None else f"{sample.group!r} "
        digest.update(f"\n{sample.id} {sample.label} {group}".encode())
        for path in (sample.picture, sample.mask):
            digest.update(_file_digest(path) if path else b"-")
    return digest.hexdigest()


def _file_digest(path: Path) -> bytes:
    status = path.stat()
    return _digest_of_version((path, status.st_size, status.st_mtime_ns))


@cache
def _digest_of_version(version: tuple[Path, int, int]) -> bytes:
    """The digest of an unchanged file, read once per process: a study opens the same set for every trial."""
    return hashlib.sha256(version[0].read_bytes()).digest()


def _write(
    pictures: PictureSet, folder: Path, frame_size: int, digest: str, progress: Progress, *, canonical: bool
) -> None:
    total = len(pictures.samples)
    shape = (total, frame_size, frame_size)
    frames = np.lib.format.open_memmap(folder / "frames.npy", mode="w+", dtype=np.uint8, shape=(*shape, 3))
    masks = np.lib.format.open_memmap(folder / "masks.npy", mode="w+", dtype=np.uint8, shape=shape)

    def read(sample: Sample) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None] | FrameError:
        try:
            frame, mask = _read_sample(sample, frame_size)
        except FrameError as error:
            return error
        return _oriented(frame, mask) if canonical else (frame, mask)

    problems: list[str] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for index, found in enumerate(pool.map(read, pictures.samples)):
            if isinstance(found, FrameError):
                problems.append(str(found))
            else:
                frames[index], mask = found
                if mask is not None:
                    masks[index] = mask
            progress(index + 1, total)
    if problems:
        raise FrameError(listed(f"{pictures.name} cannot be prepared", problems))
    frames.flush()
    masks.flush()
    groups = [sample.group for sample in pictures.samples]
    about = {
        **({"groups": groups} if any(groups) else {}),
        "name": pictures.name,
        "digest": digest,
        "classes": pictures.classes,
        "ids": [sample.id for sample in pictures.samples],
        "labels": [sample.label for sample in pictures.samples],
        "has_mask": [sample.mask is not None for sample in pictures.samples],
    }
    (folder / "set.json").write_text(json.dumps(about), encoding="utf-8")


def _read_sample(sample: Sample, frame_size: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    where = "" if sample.listed is None else f"{sample.listed}: "
    try:
        data = sample.picture.read_bytes()
        picture = read_picture(data, frame_size, TRAINING_LIMITS)
    except (OSError, PictureError) as error:
        raise FrameError(f"{where}{sample.picture}: {error}") from error
    if sample.mask is None:
        return picture.frame, None
    try:
        mask = read_mask(sample, data, (picture.width, picture.height))
    except MaskError as error:
        raise FrameError(f"{where}{sample.mask}: {error}") from error
    resized = np.asarray(mask.resize((frame_size, frame_size), Image.Resampling.BILINEAR))
    return picture.frame, np.where(resized > LESION_ABOVE, 255, 0).astype(np.uint8)


def _oriented(
    frame: NDArray[np.uint8], mask: NDArray[np.uint8] | None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    frame_1FF3 = torch.from_numpy(frame[None])
    how = canonical_orientation(frame_tensor(frame_1FF3))
    oriented = orient(frame_1FF3.permute(0, 3, 1, 2), how).permute(0, 2, 3, 1)[0].numpy()
    return oriented, None if mask is None else orient(torch.from_numpy(mask[None, None]), how)[0, 0].numpy()
