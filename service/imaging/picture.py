"""A decoded picture, what limits it, and why one cannot be used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Note = Literal["profile_ignored"]
NOTES: dict[Note, str] = {
    "profile_ignored": "the picture's colour profile is damaged, too complex or for other channels, and was ignored"
}


class PictureError(ValueError):
    """The picture cannot be used; the text says what to change."""


class EmptyPicture(PictureError):  # noqa: N818 - named for what was sent
    """There are no bytes."""


class PictureTooLarge(PictureError):  # noqa: N818
    """More bytes or pixels than the limits allow."""


class UnsupportedPicture(PictureError):  # noqa: N818
    """Not a still picture of an accepted type."""


class UndecodablePicture(PictureError):  # noqa: N818
    """Of an accepted type, but truncated, corrupt or too small."""


class CostlyPicture(PictureError):  # noqa: N818
    """Decoding it takes too much memory or time."""

    def __init__(
        self, text: str = "the picture takes too much memory or time to decode; save it as a smaller or plain JPEG"
    ) -> None:
        super().__init__(text)


@dataclass(frozen=True)
class PictureLimits:
    """Limits that are checked before decoding; sides in pixels. ``max_memory`` is in bytes, None for no limit."""

    max_bytes: int = 20 * 2**20
    max_pixels: int = 40_000_000
    min_side: int = 32
    max_memory: int | None = None


DEFAULT_LIMITS = PictureLimits()


@dataclass(frozen=True)
class Picture:
    """A decoded picture: upright, squashed to F x F, with its original size, format and digest."""

    frame: NDArray[np.uint8]  # [F, F, 3], sRGB
    width: int
    height: int
    format: str
    sha256: str
    notes: tuple[Note, ...] = ()
