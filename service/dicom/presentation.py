"""The crop box and the lesion's outline as a colour softcopy presentation state: drawn by the viewer, over the image
itself (PS3.3, A.33.2)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from PIL import ImageCms
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ColorSoftcopyPresentationStateStorage, ExplicitVRLittleEndian

from service.attention.overlay import AttentionMaps, OverlayOptions
from service.dicom.common import begin, reference
from service.dicom.report import corners
from service.dicom.source import Source
from service.prediction.attention_summary import summarise
from service.prediction.schemas import Prediction

_CROP, _LESION = "AI CROP BOX", "AI LESION"
_LAYERS = {
    _CROP: "What the network saw enlarged; AI, research only",
    _LESION: "Where the network's attention sees a lesion; AI, research only",
}


def presentation(uid: str, source: Source, prediction: Prediction, maps: AttentionMaps) -> Dataset:
    """The presentation state: the whole image, and one layer for the crop box and one for the lesion's outline."""
    made = begin("pr", ColorSoftcopyPresentationStateStorage, uid, source, prediction, ExplicitVRLittleEndian)
    made.PresentationCreationDate, made.PresentationCreationTime = made.ContentDate, made.ContentTime
    del made.ContentDate, made.ContentTime
    made.Laterality = source.image.get("Laterality", "")
    made.ContentLabel, made.ContentDescription = "AI AREAS", "Areas of a neural network, research only"
    made.ContentCreatorName = ""
    outline = summarise(maps, OverlayOptions()).outline
    rings = [[edge for corner in (*ring, ring[0]) for edge in (corner.x, corner.y)] for ring in outline]
    lines = {_CROP: [corners(prediction.lesion.crop_box)], _LESION: rings}
    made.GraphicAnnotationSequence = Sequence(
        _annotation(layer, drawn, source) for layer, drawn in lines.items() if drawn
    )
    made.GraphicLayerSequence = Sequence(_layer(order, layer) for order, layer in enumerate(lines, 1))
    made.DisplayedAreaSelectionSequence = Sequence([_whole(maps)])
    series = Dataset()
    series.SeriesInstanceUID = source.series
    series.ReferencedImageSequence = Sequence([reference(source.sop_class, source.instance)])
    made.ReferencedSeriesSequence = Sequence([series])
    # Takes the place of the image's own.
    made.ICCProfile = source.profile or _srgb_profile()
    return made


def _srgb_profile() -> bytes:
    """sRGB as an input profile, which DICOM asks for: a monitor's has the same tags. Without the time of its making."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[12:16] = b"scnr"
    profile[24:36] = bytes(12)
    return bytes(profile)


def _annotation(layer: str, lines: Iterable[list[float]], source: Source) -> Dataset:
    annotation = Dataset()
    annotation.ReferencedImageSequence = Sequence([reference(source.sop_class, source.instance)])
    annotation.GraphicLayer = layer
    annotation.GraphicObjectSequence = Sequence(map(_line, lines))
    return annotation


def _line(points: list[float]) -> Dataset:
    drawn = Dataset()
    drawn.GraphicAnnotationUnits, drawn.GraphicDimensions = "PIXEL", 2
    drawn.NumberOfGraphicPoints, drawn.GraphicData = len(points) // 2, np.asarray(points, np.float32).tolist()
    drawn.GraphicType, drawn.GraphicFilled = "POLYLINE", "N"
    return drawn


def _layer(order: int, name: str) -> Dataset:
    layer = Dataset()
    layer.GraphicLayer, layer.GraphicLayerOrder, layer.GraphicLayerDescription = name, order, _LAYERS[name]
    return layer


def _whole(maps: AttentionMaps) -> Dataset:
    area = Dataset()
    area.DisplayedAreaTopLeftHandCorner = [1, 1]
    area.DisplayedAreaBottomRightHandCorner = [maps.width, maps.height]
    area.PresentationSizeMode, area.PresentationPixelAspectRatio = "SCALE TO FIT", [1, 1]
    return area
