"""The colours of an image whose pixels are numbers of them."""

from __future__ import annotations

from PIL import Image, ImagePalette
from PIL.TiffImagePlugin import COLORMAP, TiffImageFile

from service.imaging.picture import MissingData


def scale_palette(image: TiffImageFile) -> None:
    """Take a palette of 8 bits, which some software writes, as it is meant; Pillow makes it black."""
    values = image.tag_v2.get(COLORMAP, ())
    if image.mode in ("P", "PA") and values and max(values) < 256:
        image.palette = ImagePalette.raw("RGB;L", bytes(values))


def check_palette(image: Image.Image) -> None:
    """Raises :class:`MissingData` where a loaded image has pixels of colours that its palette lacks: they would be
    black."""
    if image.mode == "P" and image.palette is not None:
        num_colours = len(image.palette.palette) // len(image.palette.mode)
        if any(image.histogram()[num_colours:]):
            raise MissingData("a colour is missing")
