"""Lesion masks: read, checked against their image, and turned with it."""

from __future__ import annotations

import io

from PIL import Image, ImageOps
from PIL.ExifTags import Base

from model_training.data.pictures import Sample

# Above this a pixel of a mask belongs to the lesion, as for the official scorer.
LESION_ABOVE = 128

_UPRIGHT = 1


class MaskError(ValueError):
    """The mask cannot be used; the text says what to change."""


def read_mask(sample: Sample, picture: bytes, size: tuple[int, int]) -> Image.Image:
    """The mask of ``sample``, mode L, at the ``size`` (width, height) of its upright image, whose file is ``picture``.

    A camera may store an image on its side and say so (EXIF). A mask that was drawn on the pixels as they are stored is
    turned with them. Own images whose mask fits both ways, and own masks without a lesion, raise :class:`MaskError`, as
    do masks of another size.
    """
    assert sample.mask is not None
    try:
        with Image.open(io.BytesIO(sample.mask.read_bytes()), formats=("PNG",)) as image:
            mask = image.convert("L")
    except (OSError, ValueError, SyntaxError) as error:
        raise MaskError(f"not a readable mask ({error}); save it as PNG") from error
    orientation = _orientation(picture)
    if mask.size == size and orientation != _UPRIGHT and sample.listed is not None:
        if size[0] == size[1] or orientation < 5:  # from 5 on, width and height change places
            raise MaskError(
                "its image is turned by its EXIF data, and the mask fits both ways; save both upright, without EXIF"
            )
    elif mask.size == size[::-1] and orientation >= 5:
        mask.getexif()[Base.Orientation] = orientation
        mask = ImageOps.exif_transpose(mask)
    elif mask.size != size:
        raise MaskError(
            f"{mask.size[0]} x {mask.size[1]}, its image is {size[0]} x {size[1]}; save the mask at the image's size"
        )
    highest = mask.getextrema()[1]
    if sample.listed is not None and isinstance(highest, int) and highest <= LESION_ABOVE:
        raise MaskError(
            f"no lesion in it: no pixel is above {LESION_ABOVE}, the highest is {highest}; draw the lesion as 255, or "
            "leave the cell empty"
        )
    return mask


def _orientation(picture: bytes) -> int:
    """The EXIF orientation, 1 to 8; 1 without any."""
    try:
        with Image.open(io.BytesIO(picture)) as image:
            orientation = image.getexif().get(Base.Orientation, _UPRIGHT)
    except (OSError, ValueError, SyntaxError):  # a DICOM file, or broken EXIF data
        return _UPRIGHT
    return orientation if orientation in range(1, 9) else _UPRIGHT
