"""The lesion area as a segmentation: one binary segment on the pixels of the stored matrix (PS3.3, A.51)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage

from service.attention.overlay import AttentionMaps
from service.dicom.coding import Code, item
from service.dicom.common import SKIN_LESION, algorithm, begin, lesion_tracking, reference
from service.dicom.identity import uid_of
from service.dicom.source import Source
from service.prediction.decision import LESION_LEVEL
from service.prediction.schemas import Prediction

_ALTERED_STRUCTURE = Code("49755003", "SCT", "Morphologically Altered Structure")
_SEGMENTATION = Code("113076", "DCM", "Segmentation")
_SOURCE_OF_PROCESSING = Code("121322", "DCM", "Source image for image processing operation")

# Pixels that are in memory at once, in four bytes each.
_STRIP_PIXELS = 2_000_000


def segmentation(uid: str, source: Source, prediction: Prediction, maps: AttentionMaps) -> Dataset:
    """The segmentation; without a lesion its segment is empty."""
    made = begin("seg", SegmentationStorage, uid, source, prediction, ExplicitVRLittleEndian)
    made.ImageType = ["DERIVED", "PRIMARY"]
    made.PatientOrientation = ""
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.NumberOfFrames, made.Rows, made.Columns = 1, maps.height, maps.width
    made.BitsAllocated = made.BitsStored = 1
    made.HighBit = made.PixelRepresentation = 0
    made.LossyImageCompression = "00"
    made.SegmentationType, made.SegmentsOverlap = "BINARY", "NO"
    made.ContentLabel, made.ContentDescription = "LESION", "Lesion area by AI, research only"
    made.ContentCreatorName = ""
    made.SegmentSequence = Sequence([_segment(source, prediction)])
    made.ReferencedSeriesSequence = Sequence([_source_series(source)])
    _add_frame(made, source, uid)
    made.add_new("PixelData", "OB", lesion_bits(maps))
    return made


def lesion_bits(maps: AttentionMaps) -> bytes:
    """Where the lesion is on the image's pixels: a bit for each, row after row, the first in the lowest bit."""
    lesion = Image.fromarray(maps.lesion.astype(np.float32))  # as bytes, what lies between two pixels is rounded down
    scale = lesion.width / maps.width, lesion.height / maps.height
    # Strips of whole bytes.
    rows = max(8, _STRIP_PIXELS // maps.width // 8 * 8)
    packed = (
        _strip(lesion, scale, top, maps.width, min(rows, maps.height - top)) for top in range(0, maps.height, rows)
    )
    bits = b"".join(strip.tobytes() for strip in packed)
    return bits + bytes(len(bits) % 2)


def _strip(lesion: Image.Image, scale: tuple[float, float], top: int, width: int, height: int) -> NDArray[np.uint8]:
    affine = (scale[0], 0.0, 0.0, 0.0, scale[1], top * scale[1])
    placed = lesion.transform((width, height), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR)
    return np.packbits(np.asarray(placed) > LESION_LEVEL + 0.5, bitorder="little")


def _segment(source: Source, prediction: Prediction) -> Dataset:
    segment = Dataset()
    segment.SegmentNumber, segment.SegmentLabel = 1, "Lesion area"
    segment.SegmentDescription = "Where the network's attention sees a lesion; not checked by a clinician"
    segment.SegmentAlgorithmType, segment.SegmentAlgorithmName = "AUTOMATIC", prediction.model.name
    segment.SegmentationAlgorithmIdentificationSequence = Sequence([algorithm(prediction.model)])
    segment.SegmentedPropertyCategoryCodeSequence = Sequence([item(_ALTERED_STRUCTURE)])
    segment.SegmentedPropertyTypeCodeSequence = Sequence([item(SKIN_LESION)])
    segment.TrackingID, segment.TrackingUID = lesion_tracking(source)
    return segment


def _source_series(source: Source) -> Dataset:
    series = Dataset()
    series.SeriesInstanceUID = source.series
    series.ReferencedInstanceSequence = Sequence([reference(source.sop_class, source.instance)])
    return series


def _add_frame(made: Dataset, source: Source, uid: str) -> None:
    """The one frame's functional groups, and the dimension that indexes it."""
    dimension, organization = Dataset(), Dataset()
    organization.DimensionOrganizationUID = dimension.DimensionOrganizationUID = uid_of(uid, "dimensions")
    dimension.DimensionIndexPointer = Tag("ReferencedSegmentNumber")
    dimension.FunctionalGroupPointer = Tag("SegmentIdentificationSequence")
    dimension.DimensionDescriptionLabel = "Segment"
    made.DimensionOrganizationSequence = Sequence([organization])
    made.DimensionIndexSequence = Sequence([dimension])
    identified, shared = Dataset(), Dataset()
    identified.ReferencedSegmentNumber = 1
    shared.SegmentIdentificationSequence = Sequence([identified])
    made.SharedFunctionalGroupsSequence = Sequence([shared])
    photograph = reference(source.sop_class, source.instance)
    photograph.SpatialLocationsPreserved = "YES"
    photograph.PurposeOfReferenceCodeSequence = Sequence([item(_SOURCE_OF_PROCESSING)])
    derivation, content, frame = Dataset(), Dataset(), Dataset()
    derivation.SourceImageSequence = Sequence([photograph])
    derivation.DerivationCodeSequence = Sequence([item(_SEGMENTATION)])
    content.DimensionIndexValues = 1
    frame.DerivationImageSequence = Sequence([derivation])
    frame.FrameContentSequence = Sequence([content])
    made.PerFrameFunctionalGroupsSequence = Sequence([frame])
