"""A decoded image, what limits it, and why one cannot be used."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Note = Literal["profile_ignored", "cmyk_without_profile"]
NOTES: dict[Note, str] = {
    "profile_ignored": "the image's colour profile is damaged, too complex or for other channels, and was ignored",
    "cmyk_without_profile": "the image is in inks (CMYK) without a usable profile; red, green and blue were taken as "
    "their complements, so its colours may be off",
}


# What a DICOM file states of its own image.
Caution = Literal["burned_in_annotation", "recognizable_features"]
CAUTIONS: dict[Caution, str] = {
    "burned_in_annotation": "the DICOM file says that there is writing in the image, which the network did not learn "
    "from and which may name the patient",
    "recognizable_features": "the DICOM file says that the image shows features by which the patient can be "
    "recognised, so it may show more than a lesion",
}


class PictureError(ValueError):
    """The image cannot be used; the text says what to change."""


class EmptyPicture(PictureError):  # noqa: N818 - named for what was sent
    """There are no bytes."""


class PictureTooLarge(PictureError):  # noqa: N818
    """More bytes or pixels than the limits allow."""


class UnsupportedPicture(PictureError):  # noqa: N818
    """Not a still image of an accepted type."""


class UndecodablePicture(PictureError):  # noqa: N818
    """Of an accepted type, but truncated, corrupt or too small."""


class CostlyPicture(PictureError):  # noqa: N818
    """Decoding it takes too much memory or time."""


class TooManyParts(ValueError):  # noqa: N818
    """Decoding would take too long; the text says of what there are too many."""


class MissingData(ValueError):  # noqa: N818
    """Data of some pixels are missing."""


# A JPEG decodes to half its sides in a quarter of the memory, which is more than the network takes.
_REDUCTION = 2


@dataclass(frozen=True)
class PictureLimits:
    """Limits that are checked before decoding; sides in pixels. ``max_memory`` is in bytes, None for no limit."""

    max_bytes: int = 20 * 2**20
    max_pixels: int = 40_000_000  # that are in memory at once
    min_side: int = 32
    max_side: int = 30_000
    max_memory: int | None = None

    def max_pixels_of(self, picture_format: str) -> int:
        """Pixels of the largest image: JPEGs beyond :attr:`max_pixels` are decoded at half their size."""
        return self.max_pixels * (_REDUCTION**2 if picture_format == "JPEG" else 1)

    def reduction(self, pixels: int) -> int:
        """By what the sides of a JPEG of so many pixels are divided while it is decoded."""
        return _REDUCTION if pixels > self.max_pixels else 1


DEFAULT_LIMITS = PictureLimits()


TRACKING_UID = re.compile(r"[0-9][0-9.]{0,63}")


class Tracking(NamedTuple):
    """Which lesion a DICOM file says that it shows, and when it was taken."""

    uid: str  # matches TRACKING_UID
    study_date: str | None  # as in 2026-01-31


@dataclass(frozen=True)
class Picture:
    """A decoded image: upright, squashed to F x F, with its original size, format and digest."""

    frame: NDArray[np.uint8]  # [F, F, 3], sRGB
    width: int
    height: int
    format: str
    sha256: str
    notes: tuple[Note, ...] = ()
    cautions: tuple[Caution, ...] = ()
    millimetres_per_pixel: float | None = None
    tracking: Tracking | None = None
