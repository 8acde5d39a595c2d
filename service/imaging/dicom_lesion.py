"""What a DICOM file states of the lesion in it: which one it is, and how large its pixels are.

Values are read as they are stored. One that is damaged, too long or not credible counts as not stated.
"""

from __future__ import annotations

import math
from contextlib import suppress
from datetime import date

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from service.imaging.picture import TRACKING_UID, Tracking

LESION_ELEMENTS = ("PixelSpacing", "TrackingUID", "StudyDate")

# Millimetres that the longer side of a photograph of a lesion may show. Dermatoscopes show 10 to 40; screens' densities
# and the 1 mm that converters write for want of a scale give more.
_LEAST_EXTENT, _MOST_EXTENT = 2.0, 100.0
_SQUARE = 0.01  # how far a pixel's sides may differ, as a share
_SPACING_BYTES = 34  # two decimal strings


def scale_of(content: Dataset) -> float | None:
    """PixelSpacing in mm, where its pixels are square and the image's extent is that of a lesion."""
    with suppress(ValueError):
        down, across = map(float, _stored(content, "PixelSpacing", _SPACING_BYTES).split(b"\\"))
        extent = max(down * content.Rows, across * content.Columns)
        if _LEAST_EXTENT <= extent <= _MOST_EXTENT and math.isclose(down, across, rel_tol=_SQUARE):
            return (down + across) / 2
    return None


def tracking_of(content: Dataset) -> Tracking | None:
    """The TrackingUID and the date of the study."""
    uid = _stored(content, "TrackingUID", 64).decode("ascii", "replace").rstrip("\0 ")
    if not TRACKING_UID.fullmatch(uid):
        return None
    day = None
    with suppress(ValueError):
        # Not strptime, which loads a module at its first call: a decoder can open no file.
        day = date.fromisoformat(_stored(content, "StudyDate", 8).decode("ascii")).isoformat()
    return Tracking(uid, day)


def _stored(content: Dataset, name: str, most_bytes: int) -> bytes:
    """The bytes of a value; empty where it is not there, or too long."""
    found = content.get_item(name)
    value = found.value if isinstance(found, RawDataElement) else None
    return value if isinstance(value, bytes) and len(value) <= most_bytes else b""
