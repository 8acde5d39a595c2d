"""A DICOM file gives the frame of the image in it, or says what it is."""

from __future__ import annotations

import io
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import uid

from service.imaging import PictureLimits, read_picture
from tests.service.imaging.cases import DEEP, GREY, PIXELS, SIDE, YCBCR
from tests.service.imaging.dicoms import (
    CAPTURE,
    COLOUR_FRAMES,
    PHOTOGRAPH,
    PROGRESSIVE,
    dicom,
    of_array,
    of_jpeg,
    palette,
    run_lengths,
    subsampled,
)
from tests.service.profiles import swapped_linear_profile
from tests.service.tiny_bundle import picture_bytes

RGB = NDArray[np.uint8]
IMAGE = Image.fromarray(PIXELS)
JPEG = picture_bytes(IMAGE, "JPEG", quality=90)
SIZE = (SIDE, SIDE)
FRAME = 48  # another size than the image's
COLOURS = np.asarray(IMAGE.quantize(200).getpalette(), np.uint8).reshape(-1, 3)
INDICES = np.asarray(IMAGE.quantize(200))


def frame(data: bytes) -> RGB:
    return read_picture(data, FRAME, jpeg_quality=75).frame


def png(pixels: NDArray[Any]) -> bytes:
    return picture_bytes(Image.fromarray(pixels), "PNG")


def compressed(codec: str, pixels: NDArray[Any], **options: Any) -> bytes:
    data: bytes = getattr(imagecodecs, f"{codec}_encode")(pixels, **options)
    return data


def j2k(pixels: NDArray[Any], **options: Any) -> bytes:
    return compressed("jpeg2k", pixels, codecformat="j2k", reversible=True, level=0, **options)


TWELVE = DEEP >> 4
RED_GREEN_BLUE = bytes(imagecodecs.jpeg8_encode(PIXELS, colorspace="RGB", outcolorspace="RGB", level=90))
PLAIN = PIXELS.copy()
PLAIN[...] = PIXELS[:, :1]  # long runs

# By name: the file, and an image with the same frame.
SAME = {
    "JPEG": (of_jpeg(JPEG), JPEG),
    "JPEG of a photograph": (of_jpeg(JPEG, sop_class=PHOTOGRAPH), JPEG),
    "JPEG of a capture": (of_jpeg(JPEG, sop_class=CAPTURE), JPEG),
    "JPEG in a file for several frames": (of_jpeg(JPEG, sop_class=COLOUR_FRAMES, NumberOfFrames=1), JPEG),
    "JPEG, extended": (of_jpeg(JPEG, syntax=uid.JPEGExtended12Bit), JPEG),
    "JPEG, colours not subsampled": (
        of_jpeg(full := picture_bytes(IMAGE, "JPEG", subsampling=0), "YBR_FULL"),
        full,
    ),
    "JPEG, progressive": (
        of_jpeg(progressive := picture_bytes(IMAGE, "JPEG", progressive=True), syntax=PROGRESSIVE),
        progressive,
    ),
    "JPEG, fragments": (of_jpeg(JPEG, fragments=7), JPEG),
    "JPEG, grey": (of_jpeg(grey := picture_bytes(Image.fromarray(GREY), "JPEG"), "MONOCHROME2"), grey),
    "JPEG, RGB": (of_jpeg(RED_GREEN_BLUE, "RGB"), RED_GREEN_BLUE),
    "JPEG with an orientation": (
        of_jpeg(
            picture_bytes(
                IMAGE, "JPEG", quality=90, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0"
            )
        ),
        JPEG,
    ),
    "JPEG with a profile that the file takes back": (
        of_jpeg(picture_bytes(IMAGE, "JPEG", quality=90, icc_profile=swapped_linear_profile()), ColorSpace="SRGB"),
        JPEG,
    ),
    "JPEG with a profile of its own": (
        of_jpeg(profiled := picture_bytes(IMAGE, "JPEG", quality=90, icc_profile=swapped_linear_profile())),
        profiled,
    ),
    "JPEG with the file's profile": (of_jpeg(JPEG, ICCProfile=swapped_linear_profile()), profiled),
    "profile that does not count": (
        of_array(PIXELS, ICCProfile=swapped_linear_profile(), ColorSpace="SRGB"),
        png(PIXELS),
    ),
    "profile": (
        of_array(PIXELS, ICCProfile=swapped_linear_profile()),
        picture_bytes(IMAGE, "PNG", icc_profile=swapped_linear_profile()),
    ),
    "RGB": (of_array(PIXELS), png(PIXELS)),
    "RGB, implicit": (of_array(PIXELS, syntax=uid.ImplicitVRLittleEndian), png(PIXELS)),
    "RGB, big endian": (of_array(PIXELS, syntax=uid.ExplicitVRBigEndian), png(PIXELS)),
    "RGB in planes": (
        dicom(PIXELS.transpose(2, 0, 1).tobytes(), SIZE, PlanarConfiguration=1),
        png(PIXELS),
    ),
    "RGB of 16 bits": (of_array(DEEP), png(PIXELS)),
    "RGB of 16 bits, big endian": (of_array(DEEP.astype(">u2"), syntax=uid.ExplicitVRBigEndian), png(PIXELS)),
    "RGB of 12 bits": (of_array(TWELVE, bits=(16, 12)), png(PIXELS)),
    "8 of 16 bits": (of_array(PIXELS.astype(np.uint16), bits=(16, 8)), png(PIXELS)),
    "RGB of odd sides": (of_array(PIXELS[:33, :35]), png(np.ascontiguousarray(PIXELS[:33, :35]))),
    "grey": (of_array(GREY, "MONOCHROME2"), png(GREY)),
    "grey of 12 bits": (of_array(GREY.astype(np.uint16) << 4, "MONOCHROME2", bits=(16, 12)), png(GREY)),
    "grey, inverted": (of_array(255 - GREY, "MONOCHROME1"), png(GREY)),
    "grey of 12 bits, inverted": (
        of_array(4095 - (GREY.astype(np.uint16) << 4), "MONOCHROME1", bits=(16, 12)),
        png(GREY),
    ),
    "YCbCr": (of_array(YCBCR, "YBR_FULL"), png(np.asarray(Image.fromarray(YCBCR, "YCbCr").convert("RGB")))),
    "palette of 8 bits": (of_array(INDICES, "PALETTE COLOR", **palette(COLOURS)), png(COLOURS[INDICES])),
    "palette of 16 bits": (
        of_array(INDICES, "PALETTE COLOR", **palette(COLOURS.astype(np.uint16) * 257)),
        png(COLOURS[INDICES]),
    ),
    "palette of 16 bits, big endian": (
        of_array(INDICES, "PALETTE COLOR", syntax=uid.ExplicitVRBigEndian, **palette(COLOURS.astype(">u2") * 257)),
        png(COLOURS[INDICES]),
    ),
    "palette of 8 bits in 16": (
        of_array(INDICES, "PALETTE COLOR", **palette(COLOURS.astype(np.uint16))),
        png(COLOURS[INDICES]),
    ),
    "palette with a first value": (
        of_array(INDICES + 20, "PALETTE COLOR", **palette(COLOURS, first=20)),
        png(COLOURS[INDICES]),
    ),
    "RLE": (dicom(run_lengths(PIXELS), SIZE, syntax=uid.RLELossless), png(PIXELS)),
    "RLE with long runs": (dicom(run_lengths(PLAIN), SIZE, syntax=uid.RLELossless), png(PLAIN)),
    "RLE of 12 bits": (dicom(run_lengths(TWELVE), SIZE, syntax=uid.RLELossless, bits=(16, 12)), png(PIXELS)),
    "RLE, grey": (
        dicom(run_lengths(GREY), SIZE, syntax=uid.RLELossless, photometric="MONOCHROME2", samples=1),
        png(GREY),
    ),
    "JPEG-LS": (dicom(compressed("jpegls", PIXELS), SIZE, syntax=uid.JPEGLSLossless), png(PIXELS)),
    "JPEG-LS of 16 bits": (
        dicom(compressed("jpegls", DEEP), SIZE, syntax=uid.JPEGLSLossless, bits=(16, 16)),
        png(PIXELS),
    ),
    "JPEG-LS, grey": (
        dicom(compressed("jpegls", GREY), SIZE, syntax=uid.JPEGLSLossless, photometric="MONOCHROME2", samples=1),
        png(GREY),
    ),
    "JPEG 2000": (dicom(j2k(PIXELS), SIZE, syntax=uid.JPEG2000Lossless, photometric="YBR_RCT"), png(PIXELS)),
    "JPEG 2000, RGB": (dicom(j2k(PIXELS, mct=False), SIZE, syntax=uid.JPEG2000Lossless), png(PIXELS)),
    "JPEG 2000, grey of 16 bits": (
        dicom(j2k(DEEP[..., 1]), SIZE, syntax=uid.JPEG2000, photometric="MONOCHROME2", samples=1, bits=(16, 16)),
        png(GREY),
    ),
    "JPEG 2000, palette": (
        dicom(
            j2k(INDICES),
            SIZE,
            syntax=uid.JPEG2000Lossless,
            photometric="PALETTE COLOR",
            samples=1,
            **palette(COLOURS),
        ),
        png(COLOURS[INDICES]),
    ),
    "JPEG 2000 of high throughput": (
        dicom(compressed("htj2k", PIXELS), SIZE, syntax=uid.HTJ2KLossless, photometric="YBR_RCT"),
        png(PIXELS),
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_an_image_gives_the_same_frame_however_it_is_stored(name: str) -> None:
    data, expected = SAME[name]
    picture = read_picture(data, FRAME, jpeg_quality=75)
    assert np.array_equal(picture.frame, frame(expected))
    assert (picture.format, picture.notes, picture.cautions) == ("DICOM", (), ())


def test_colours_of_12_bits_in_jpeg_2000_are_rounded() -> None:
    data = dicom(j2k(TWELVE, bitspersample=12), SIZE, syntax=uid.JPEG2000Lossless, bits=(16, 12))
    rounded = np.minimum((TWELVE + 8) >> 4, 255).astype(np.uint8)
    assert np.array_equal(read_picture(data, SIDE).frame, rounded)


def test_subsampled_colours_are_those_of_both_pixels() -> None:
    data = dicom(subsampled(YCBCR), SIZE, photometric="YBR_FULL_422")
    both = YCBCR.copy()
    both[:, 1::2, 1:] = both[:, 0::2, 1:]
    assert np.array_equal(frame(data), frame(png(np.asarray(Image.fromarray(both, "YCbCr").convert("RGB")))))


def test_adobe_rgb_is_converted_where_the_file_states_it() -> None:
    plain, stated = frame(of_array(PIXELS)).astype(int), frame(of_array(PIXELS, ColorSpace="ADOBERGB")).astype(int)
    assert np.abs(stated - plain).max() > 5
    assert np.array_equal(frame(of_jpeg(JPEG, ColorSpace="ADOBERGB")).shape, plain.shape)


def test_what_the_file_says_of_its_image_is_passed_on() -> None:
    data = of_jpeg(JPEG, BurnedInAnnotation="YES", RecognizableVisualFeatures="YES")
    assert read_picture(data, FRAME).cautions == ("burned_in_annotation", "recognizable_features")
    data = of_jpeg(JPEG, BurnedInAnnotation="NO", RecognizableVisualFeatures="YES")
    assert read_picture(data, FRAME).cautions == ("recognizable_features",)


@pytest.mark.parametrize(
    ("spacing", "expected"),
    [
        (["0.2", "0.2"], 0.2),
        ([" 2.0E-1", "0.2004"], 0.2002),
        (["0.1", "0.2"], None),  # no square pixels
        (["3", "3"], None),  # what shows so much is no dermatoscope
        (["0.0001", "0.0001"], None),
        (["-0.2", "-0.2"], None),
        (["0", "0"], None),
        (["0.2"], None),
        (["0.2"] * 1000, None),
    ],
)
def test_a_credible_scale_is_passed_on(spacing: list[str], expected: float | None) -> None:
    for data in (of_jpeg(JPEG, PixelSpacing=spacing), of_array(PIXELS, PixelSpacing=spacing)):
        scale = read_picture(data, FRAME).millimetres_per_pixel
        assert scale == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("words", [b"nan\\nan ", b"inf\\inf ", b"a\\b ", b"\xff\xff", b""])
def test_a_damaged_scale_is_none_and_no_reason_to_refuse(words: bytes) -> None:
    sound = of_jpeg(JPEG, PixelSpacing=["0.2", "0.2"])
    stated = b"DS" + len(b"0.2\\0.2 ").to_bytes(2, "little") + b"0.2\\0.2 "
    assert sound.count(stated) == 1
    data = sound.replace(stated, b"DS" + len(words).to_bytes(2, "little") + words)
    assert read_picture(data, FRAME).millimetres_per_pixel is None


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ({"TrackingUID": "2.25.77", "StudyDate": "20260105"}, ("2.25.77", "2026-01-05")),
        ({"TrackingUID": "2.25.77"}, ("2.25.77", None)),
        ({"TrackingUID": "2.25.77", "StudyDate": "20261305"}, ("2.25.77", None)),
        ({"StudyDate": "20260105", "TrackingID": "naevus 7"}, None),
    ],
)
def test_the_lesion_that_a_file_tracks_is_passed_on(stated: dict[str, str], expected: object) -> None:
    for data in (of_jpeg(JPEG, **stated), of_array(PIXELS, **stated)):
        assert read_picture(data, FRAME).tracking == expected


@pytest.mark.parametrize("words", [b"Anna.M\0", b"......\0", b"\xff\xff", b"", b"1" * 66])
def test_a_damaged_tracking_uid_is_none_and_no_reason_to_refuse(words: bytes) -> None:
    sound, stated = of_jpeg(JPEG, TrackingUID="2.25.77"), b"UI\x08\x002.25.77\0"
    assert sound.count(stated) == 1
    data = sound.replace(stated, b"UI" + len(words).to_bytes(2, "little") + words)
    assert read_picture(data, FRAME).tracking is None


def test_the_density_of_a_screen_is_no_scale() -> None:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "JPEG", dpi=(300, 300))
    assert read_picture(buffer.getvalue(), FRAME).millimetres_per_pixel is None


def test_a_profile_for_other_channels_is_noted() -> None:
    assert read_picture(of_array(GREY, "MONOCHROME2", ICCProfile=swapped_linear_profile()), FRAME).notes == (
        "profile_ignored",
    )


def test_a_jpeg_beyond_the_limit_of_pixels_is_decoded_at_half_its_size() -> None:
    limits = PictureLimits(max_pixels=SIDE * SIDE // 2)
    pictures = [read_picture(data, FRAME, limits) for data in (of_jpeg(JPEG), JPEG)]
    assert np.array_equal(pictures[0].frame, pictures[1].frame)
    assert (pictures[0].width, pictures[0].height) == SIZE
