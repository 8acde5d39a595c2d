"""Segmentation, secondary capture and presentation state: where they are on the image, and what viewers need."""

from __future__ import annotations

import io
from dataclasses import replace

import highdicom
import numpy as np
from PIL import Image, ImageCms

from service.attention.overlay import OverlayOptions, render
from service.dicom.segmentation import lesion_bits
from service.imaging import read_picture
from service.prediction.attention_summary import summarise
from tests.service.dicom.results import HEIGHT, INSTANCE, WIDTH, about, attention, lesion_of, read
from tests.service.fhir.predictions import prediction


def test_highdicom_reads_the_lesion_on_the_pixels_of_the_image() -> None:
    parsed = highdicom.seg.segread(io.BytesIO(about()["seg"]))
    pixels = parsed.get_pixels_by_source_instance([INSTANCE])
    assert pixels.shape == (1, HEIGHT, WIDTH, 1)
    assert np.array_equal(pixels[0, ..., 0] > 0, lesion_of(attention()))
    assert 0.05 < pixels.mean() < 0.9


def test_a_large_image_is_segmented_in_strips() -> None:
    large = replace(attention(), width=2999, height=2003)
    bits = np.unpackbits(np.frombuffer(lesion_bits(large), np.uint8), bitorder="little")[: 2999 * 2003]
    assert np.array_equal(bits.reshape(2003, 2999) > 0, lesion_of(large))


def test_without_a_lesion_the_segment_is_empty() -> None:
    nothing = replace(attention(), lesion=np.zeros((32, 32), np.uint8))
    assert not any(lesion_bits(nothing))


def test_the_capture_is_the_overlay() -> None:
    capture = read(about()["sc"])
    overlay = render(attention(), OverlayOptions())
    assert (capture.Rows, capture.Columns) == overlay.shape[:2]
    assert max(capture.Rows, capture.Columns) <= 1024
    assert np.abs(capture.pixel_array.astype(int) - overlay).mean() < 3  # a JPEG, whose colours pydicom converts
    assert capture.SourceImageSequence[0].ReferencedSOPInstanceUID == INSTANCE
    assert capture.Modality != "DMS"


def test_the_service_itself_can_read_the_capture() -> None:
    picture = read_picture(about()["sc"], 64)
    assert (picture.width, picture.height) == (768, 518)


def test_what_the_source_states_of_people_is_passed_on() -> None:
    stated = prediction(reasons=["burned_in_annotation", "recognizable_features"])
    capture = read(about(stated)["sc"])
    assert (capture.BurnedInAnnotation, capture.RecognizableVisualFeatures) == ("YES", "YES")
    assert read(about()["sc"]).BurnedInAnnotation == "NO"


def test_the_presentation_state_draws_crop_box_and_outline_on_the_image() -> None:
    state = read(about()["pr"])
    crop, lesion = state.GraphicAnnotationSequence
    assert crop.ReferencedImageSequence[0].ReferencedSOPInstanceUID == INSTANCE
    assert crop.GraphicObjectSequence[0].GraphicData == [30, 20, 271, 20, 271, 203, 30, 203, 30, 20]
    outline = summarise(attention(), OverlayOptions()).outline
    drawn = [np.reshape(each.GraphicData, (-1, 2)) for each in lesion.GraphicObjectSequence]
    for line, ring in zip(drawn, outline, strict=True):
        assert np.allclose(line[:-1], [(corner.x, corner.y) for corner in ring])
        assert np.array_equal(line[0], line[-1])
    assert state.DisplayedAreaSelectionSequence[0].DisplayedAreaBottomRightHandCorner == [WIDTH, HEIGHT]
    layers = [layer.GraphicLayer for layer in state.GraphicLayerSequence]
    assert [annotation.GraphicLayer for annotation in (crop, lesion)] == layers


def test_the_presentation_state_has_the_colours_of_the_image() -> None:
    profile = read(about()["pr"]).ICCProfile
    assert profile[12:16] == b"scnr"  # an input profile, as DICOM asks for
    opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    grey = Image.effect_noise((64, 64), 60).convert("RGB")
    srgb = ImageCms.createProfile("sRGB")
    seen = ImageCms.profileToProfile(grey, opened, srgb)
    assert np.abs(np.asarray(seen).astype(int) - np.asarray(grey)).max() <= 1
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert read(about(ICCProfile=own)["pr"]).ICCProfile == own
