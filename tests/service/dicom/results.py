"""A DICOM file as a dermatoscope writes it, a prediction about its image, and the objects made of both."""

from __future__ import annotations

import io
from collections.abc import Collection
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset

from service.attention.overlay import AttentionMaps
from service.dicom.identity import KINDS, Kind
from service.dicom.objects import build, encode
from service.dicom.source import read_source
from service.prediction.schemas import Prediction
from tests.service.fhir.predictions import CLASSES, prediction
from tests.service.imaging.dicoms import of_jpeg
from tests.service.tiny_bundle import picture_bytes

WIDTH, HEIGHT = 301, 203  # a row is no whole number of bytes
SERIES, INSTANCE = "2.25.47115", "2.25.47116"


def code(value: str, meaning: str, **more: Any) -> Dataset:
    """A SNOMED CT concept as the item of a sequence."""
    coded = Dataset()
    coded.CodeValue, coded.CodingSchemeDesignator, coded.CodeMeaning = value, "SCT", meaning
    for name, item in more.items():
        setattr(coded, name, item)
    return coded


def photograph(**elements: Any) -> bytes:
    """A dermoscopic photograph; keyword arguments are further elements, or other values."""
    image = Image.fromarray(np.random.default_rng(4).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8))
    stored: dict[str, Any] = {
        "SOPInstanceUID": INSTANCE,
        "SeriesInstanceUID": SERIES,
        "StudyDate": "20260102",
        "StudyTime": "101500",
        "StudyID": "S-4711",
        "ReferringPhysicianName": "Überweiser^Vorname",
        "Modality": "DMS",
        "SeriesNumber": 1,
        "InstanceNumber": 3,
        "PatientSex": "F",
        "Laterality": "L",
        "AnatomicRegionSequence": [
            code("40983000", "Upper arm", AnatomicRegionModifierSequence=[code("7771000", "Left")])
        ],
    }
    return of_jpeg(picture_bytes(image, "JPEG", quality=60), **{**stored, **elements})


def attention() -> AttentionMaps:
    """Maps with a disc as the lesion."""
    y, x = np.mgrid[:32, :32]
    lesion = np.clip(255 - np.hypot(x - 14, y - 18) * 16, 0, 255).astype(np.uint8)
    frame = np.full((64, 64, 3), (200, 160, 140), np.uint8)
    box = np.array([0.1, 0.1, 0.9, 0.9], np.float32)
    return AttentionMaps(frame, WIDTH, HEIGHT, box, lesion, None, None)


def about(made: Prediction | None = None, kinds: Collection[Kind] = KINDS, **elements: Any) -> dict[Kind, bytes]:
    """The objects about a prediction, as files, by kind."""
    seen = made or prediction()
    image = seen.image.model_copy(update={"width": WIDTH, "height": HEIGHT})
    box = seen.lesion.crop_box.model_copy(update={"x0": 30, "y0": 20, "x1": 271, "y1": 203})
    seen = seen.model_copy(
        update={"image": image, "lesion": seen.lesion.model_copy(update={"crop_box": box})},
    )
    objects = build(kinds, read_source(photograph(**elements)), seen, attention(), CLASSES)
    return dict(zip((kind for kind in KINDS if kind in kinds), map(encode, objects), strict=True))


def read(data: bytes) -> Dataset:
    """A DICOM file's data set."""
    return pydicom.dcmread(io.BytesIO(data))


def items(report: Dataset) -> list[tuple[str, Dataset]]:
    """Every content item below a report, with the meaning of its name, in order."""
    found = []
    for item in report.get("ContentSequence", []):
        found += [(item.ConceptNameCodeSequence[0].CodeMeaning, item), *items(item)]
    return found


def lesion_of(maps: AttentionMaps) -> NDArray[np.bool_]:
    """Where the lesion is on the image's pixels, one pixel after the other: interpolated by hand at its centre."""
    side = maps.lesion.shape[0]

    def along(num: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        at = np.clip((np.arange(num) + 0.5) * side / num - 0.5, 0, side - 1)
        low = np.floor(at).astype(int)
        return low, np.minimum(low + 1, side - 1), at - low

    (top, bottom, down), (left, right, across) = along(maps.height), along(maps.width)
    values = maps.lesion.astype(float)
    upper = values[top][:, left] * (1 - across) + values[top][:, right] * across
    lower = values[bottom][:, left] * (1 - across) + values[bottom][:, right] * across
    mixed: NDArray[np.bool_] = upper * (1 - down[:, None]) + lower * down[:, None] > 127.5
    return mixed
