"""From the bytes of an image to the frame the network takes."""

from service.imaging.decode import (
    DEFAULT_LIMITS,
    EmptyPicture,
    Picture,
    PictureError,
    PictureLimits,
    PictureTooLarge,
    UndecodablePicture,
    UnsupportedPicture,
    read_picture,
)

__all__ = [
    "DEFAULT_LIMITS",
    "EmptyPicture",
    "Picture",
    "PictureError",
    "PictureLimits",
    "PictureTooLarge",
    "UndecodablePicture",
    "UnsupportedPicture",
    "read_picture",
]
