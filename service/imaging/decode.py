"""Decode an image to the frame that the network takes; training and serving share this module.

Accepted by content, never by name: JPEG, PNG, WebP, single-page TIFF, BMP, AVIF and, with the extra ``dicom``,
DICOM. Frames are 8-bit sRGB and upright. One copy of the pixels is in memory in full size; a very large JPEG is decoded
at half its size.

The service decodes in processes of its own (:mod:`service.imaging.decoder_pool`). They import this module, which
therefore does without NumPy: that takes longer to load than everything else together. What reads DICOM is loaded before
the first DICOM file.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from typing import TYPE_CHECKING, NamedTuple

import PIL.BmpImagePlugin
import PIL.PngImagePlugin
import PIL.TiffImagePlugin
import PIL.WebPImagePlugin
from PIL import Image, ImageChops
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from service.imaging import avif_decoder
from service.imaging.avif import read_avif
from service.imaging.bmp import bmp_profile
from service.imaging.frame import Framed, Stated, forget_xmp, to_frame
from service.imaging.jpeg import Jpeg, check_jpeg, completed
from service.imaging.jpeg_decoder import load_jpeg
from service.imaging.kinds import FORMATS, NAMES, Format, Kind, costly, damaged, format_of, refusal
from service.imaging.palettes import check_palette, scale_palette
from service.imaging.picture import (
    DEFAULT_LIMITS,
    Caution,
    CostlyPicture,
    EmptyPicture,
    Note,
    Picture,
    PictureError,
    PictureLimits,
    PictureTooLarge,
    TooManyParts,
    Tracking,
    UndecodablePicture,
)
from service.imaging.png import png_colours
from service.imaging.structure import check_parts, check_tiles, decoding_bytes, decoding_samples
from service.imaging.tiff_parts import check_tiff_parts
from service.imaging.webp import check_webp, webp_size

if TYPE_CHECKING:
    from service.imaging.dicom import Dicom

# In Pillow's error when a native decoder has found no memory.
_NO_MEMORY = "out of memory"

# The limits below are checked before decoding; Pillow's own limit only warns, and is global.
Image.MAX_IMAGE_PIXELS = None

# Pillow's own reader of uncompressed TIFFs takes planes of 16 bits, and blocks of subsampled colours, for others.
PIL.TiffImagePlugin.READ_LIBTIFF = True

# Profiles of scanners and the histories that Photoshop keeps are larger than Pillow's limit for a PNG, of 1 MB.
PIL.PngImagePlugin.MAX_TEXT_CHUNK = 16 * 2**20

# Errors go to the sender; Pillow would log a warning for every bad tag, and keep it in memory.
warnings.filterwarnings("ignore", module=r"PIL\.")


def _forget_other_readers() -> None:
    """Remove Pillow's other readers: some forty, PostScript's among them, which only widen the attack surface."""
    Image.preinit()
    for name in set(Image.OPEN) - set(FORMATS):
        del Image.OPEN[name]
        Image.ID.remove(name)


_forget_other_readers()

# Values that a decoder may compute: pixels x channels x passes. 40 million pixels in four channels and ten scans.
_MOST_SAMPLES = 1_600_000_000


class Decoded(NamedTuple):
    """What a :class:`Picture` is made of, with the frame as an image of Pillow's."""

    image: Image.Image
    width: int
    height: int
    format: str
    notes: tuple[Note, ...]
    cautions: tuple[Caution, ...] = ()
    millimetres_per_pixel: float | None = None  # as a DICOM file states it
    tracking: Tracking | None = None


def read_picture(
    data: bytes, frame_size: int, limits: PictureLimits = DEFAULT_LIMITS, *, jpeg_quality: int | None = None
) -> Picture:
    """Decode ``data`` to a frame of ``frame_size`` x ``frame_size``; an image of that size comes through unchanged.

    With ``jpeg_quality`` (1 to 95), a resized image is compressed and decoded again at that quality: a network that
    learned from small JPEG files expects their artefacts.

    Raises a :class:`PictureError`: :class:`EmptyPicture`, :class:`PictureTooLarge`, :class:`UnsupportedPicture`,
    :class:`UndecodablePicture` or :class:`CostlyPicture`.
    """
    import numpy as np

    decoded = decode(data, frame_size, limits, jpeg_quality=jpeg_quality)
    image, width, height, picture_format, notes, cautions, scale, tracking = decoded
    sha256 = hashlib.sha256(data).hexdigest()
    return Picture(np.asarray(image), width, height, picture_format, sha256, notes, cautions, scale, tracking)


def decode(data: bytes, frame_size: int, limits: PictureLimits, *, jpeg_quality: int | None = None) -> Decoded:
    """As :func:`read_picture`; also raises ``MemoryError``, which is no fault of the image's."""
    if not data:
        raise EmptyPicture("the file is empty (0 bytes): copy it again from where it comes")
    if len(data) > limits.max_bytes:
        raise PictureTooLarge(f"the image has {len(data):,} bytes, the limit is {limits.max_bytes:,}")
    picture_format = format_of(data)
    stated: tuple[tuple[Caution, ...], float | None, Tracking | None] = (), None, None
    try:
        if picture_format == "DICOM":
            size, framed, dicom = _decode_dicom(data, frame_size, limits)
            stated = dicom.cautions, dicom.millimetres_per_pixel, dicom.tracking
        elif picture_format == "AVIF":
            size, framed = _decode_avif(data, frame_size, limits)
        else:
            size, framed = _decode_file(data, picture_format, frame_size, limits)
    except CostlyPicture:
        raise costly(data) from None
    except (PictureError, MemoryError):
        raise
    except TooManyParts as error:
        text = f"the {NAMES[picture_format]} has {error} to be decoded in time; open it and save it as JPEG"
        raise UndecodablePicture(text) from error
    # Decoders raise many types (OSError, ValueError, SyntaxError, struct.error, ...); all mean a damaged image.
    except Exception as error:
        if _NO_MEMORY in str(error).lower():
            raise MemoryError from error
        raise damaged(data) from error
    width, height = size[::-1] if framed.swapped else size
    frame = framed.image
    if (width, height) != frame.size and jpeg_quality is not None:
        frame = _recompress(frame, jpeg_quality)
    return Decoded(frame, width, height, picture_format, framed.notes, *stated)


def _decode_file(
    data: bytes, picture_format: Format, frame_size: int, limits: PictureLimits, stated: Stated | None = None
) -> tuple[tuple[int, int], Framed]:
    """The size that is stored, and the frame."""
    jpeg = check_parts(data, picture_format)
    colours = png_colours(data) if picture_format == "PNG" else None
    if picture_format == "WEBP":
        _check_webp(data, limits)
    with Image.open(io.BytesIO(data), formats=(picture_format,)) as image:
        _check(image, picture_format, limits, len(jpeg.scans) if jpeg else 1)
        size = image.size
        reduction = limits.reduction(image.width * image.height)
        loaded = _load(image, data, reduction, jpeg)
        if stated is not None:
            loaded, colours = stated.adopt(loaded), stated.colours
        return size, to_frame(loaded, frame_size, colours)


def _decode_avif(data: bytes, frame_size: int, limits: PictureLimits) -> tuple[tuple[int, int], Framed]:
    avif = read_avif(data)
    size = avif.raster.size
    _check_size(size, "AVIF", limits)
    _check_pixels(avif.raster.decoded_size, "AVIF", limits)
    _check_memory(avif_decoder.decoding_bytes(avif), limits)
    return size, to_frame(avif_decoder.load_avif(avif, data), frame_size, avif.colours)


def _decode_dicom(data: bytes, frame_size: int, limits: PictureLimits) -> tuple[tuple[int, int], Framed, Dicom]:
    from service.imaging.dicom import read_dicom
    from service.imaging.dicom_pixels import decoding_bytes, image_of, is_jpeg, jpeg_of

    dicom = read_dicom(data)
    _check_size(dicom.size, "JPEG" if is_jpeg(dicom) else "DICOM", limits)
    if is_jpeg(dicom):
        size, framed = _decode_file(jpeg_of(dicom), "JPEG", frame_size, limits, dicom.stated)
        return size, framed, dicom
    _check_memory(decoding_bytes(dicom), limits)
    image = dicom.stated.adopt(image_of(dicom))
    framed = to_frame(image, frame_size, dicom.stated.colours)
    return dicom.size, framed, dicom


def _load(image: Image.Image, data: bytes, reduction: int, jpeg: Jpeg | None) -> Image.Image:
    """The image with its pixels; also of a JPEG that lacks its last two bytes and nothing else."""
    _prepare(image, data, reduction)
    if isinstance(image, JpegImageFile) and jpeg is not None:
        return _load_jpeg(image, data, reduction, jpeg)
    if isinstance(image, TiffImageFile):
        check_tiff_parts(image, data)
    image.load()
    check_palette(image)
    if image.format == "BMP" and image.mode == "RGBA" and image.getchannel("A").getbbox() is None:
        image.putalpha(255)  # nothing was written to that channel
    return image


def _load_jpeg(image: JpegImageFile, data: bytes, reduction: int, jpeg: Jpeg) -> Image.Image:
    try:
        load_jpeg(image, data, jpeg)
    except OSError:
        files = completed(data, jpeg)
        if not files:
            raise
        image = _opened(files[0], reduction)
        load_jpeg(image, files[0], check_jpeg(files[0]))
        if any(ImageChops.difference(image, _opened(other, reduction)).getbbox() for other in files[1:]):
            raise
    return image


def _opened(jpeg: bytes, reduction: int) -> JpegImageFile:
    image = Image.open(io.BytesIO(jpeg), formats=("JPEG",))
    assert isinstance(image, JpegImageFile)
    _prepare(image, jpeg, reduction)
    return image


def _prepare(image: Image.Image, data: bytes, reduction: int) -> None:
    """What has to be known before the pixels are read."""
    forget_xmp(image)  # a TIFF's is used while it loads
    if isinstance(image, JpegImageFile) and reduction > 1:
        image.draft(None, (image.width // reduction, image.height // reduction))
    if isinstance(image, TiffImageFile):
        scale_palette(image)
    if image.format == "BMP" and (profile := bmp_profile(data)):
        image.info["icc_profile"] = profile


def _recompress(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer, formats=("JPEG",)).convert("RGB")


def _check(image: Image.Image, picture_format: Format, limits: PictureLimits, num_scans: int) -> None:
    width, height = image.size
    _check_size(image.size, picture_format, limits)
    check_tiles(image, limits.max_pixels)
    if image.mode == "1":
        raise refusal(Kind("an image in black and white without shades", "send the photo itself"))
    if picture_format in ("PNG", "WEBP") and _is_animated(image):
        raise refusal(Kind("an animation", "save one of its images as a single still image"))
    if decoding_samples(image, num_scans) > _MOST_SAMPLES:
        raise CostlyPicture
    _check_memory(decoding_bytes(image, num_scans, reduction=limits.reduction(width * height)), limits)


def _check_webp(data: bytes, limits: PictureLimits) -> None:
    """Check what a WebP file states. Opening one takes two canvases of an animation, decoding a copy and an image."""
    width, height = webp_size(data)
    _check_pixels((width, height), "WEBP", limits)
    _check_memory(16 * width * height, limits)
    check_webp(data)


def _check_memory(num_bytes: int, limits: PictureLimits) -> None:
    if limits.max_memory is not None and num_bytes > limits.max_memory:
        raise CostlyPicture


def _check_pixels(size: tuple[int, int], picture_format: Format, limits: PictureLimits) -> None:
    width, height = size
    most = limits.max_pixels_of(picture_format)
    if width * height > most:
        kind = f"{'an' if picture_format == 'AVIF' else 'a'} {NAMES[picture_format]}"
        limit = f"{most:,} in all for {kind}"
    elif max(size) > limits.max_side:
        limit = f"{limits.max_side:,} for a side"
    else:
        return
    raise PictureTooLarge(f"the image has {width} x {height} pixels, the limit is {limit}; save it smaller, as JPEG")


def _check_size(size: tuple[int, int], picture_format: Format, limits: PictureLimits) -> None:
    _check_pixels(size, picture_format, limits)
    if min(size) < limits.min_side:
        text = f"{size[0]} x {size[1]} pixels; each side needs {limits.min_side} or more"
        raise UndecodablePicture(f"the {NAMES[picture_format]} is {text}: send the original in full size")


def _is_animated(image: Image.Image) -> bool:
    try:
        image.seek(1)
    except EOFError:
        return False
    return True
