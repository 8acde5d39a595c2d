"""From the bytes of an image to the frame the network takes."""

from service.imaging.decode import read_picture
from service.imaging.picture import (
    CAUTIONS,
    DEFAULT_LIMITS,
    NOTES,
    Caution,
    CostlyPicture,
    EmptyPicture,
    Note,
    Picture,
    PictureError,
    PictureLimits,
    PictureTooLarge,
    UndecodablePicture,
    UnsupportedPicture,
)

__all__ = [
    "CAUTIONS",
    "DEFAULT_LIMITS",
    "NOTES",
    "Caution",
    "CostlyPicture",
    "EmptyPicture",
    "Note",
    "Picture",
    "PictureError",
    "PictureLimits",
    "PictureTooLarge",
    "UndecodablePicture",
    "UnsupportedPicture",
    "read_picture",
]
