"""The lesion map over the image as a secondary capture, which every viewer shows (PS3.3, A.8.1)."""

from __future__ import annotations

import io

from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import JPEGBaseline8Bit, SecondaryCaptureImageStorage

from service.attention.overlay import RGB, AttentionMaps, OverlayOptions, render
from service.dicom.coding import Code, item
from service.dicom.common import begin, reference
from service.dicom.source import Source
from service.prediction.schemas import Prediction

_SOURCE_OF_PROCESSING = Code("121322", "DCM", "Source image for image processing operation")
_QUALITY = 90


def capture(uid: str, source: Source, prediction: Prediction, maps: AttentionMaps) -> Dataset:
    """The overlay of the lesion map, with the crop box, as a JPEG; its sides are at most those of overlays.

    Its modality is not the image's, so that who looks for images does not find it.
    """
    drawn = render(maps, OverlayOptions())
    jpeg = _jpeg(drawn)
    made = begin("sc", SecondaryCaptureImageStorage, uid, source, prediction, JPEGBaseline8Bit)
    made.ImageType, made.ConversionType = ["DERIVED", "SECONDARY"], "SYN"
    made.DateOfSecondaryCapture, made.TimeOfSecondaryCapture = made.ContentDate, made.ContentTime
    made.PatientOrientation = ""
    _add_laterality(made, source)
    stated = prediction.decision.reasons
    made.BurnedInAnnotation = "YES" if "burned_in_annotation" in stated else "NO"
    if "recognizable_features" in stated:
        made.RecognizableVisualFeatures = "YES"
    made.ImageComments = prediction.notice
    made.DerivationDescription = "Lesion area attention of a neural network, drawn over the image"
    photograph = reference(source.sop_class, source.instance)
    photograph.PurposeOfReferenceCodeSequence = Sequence([item(_SOURCE_OF_PROCESSING)])
    made.SourceImageSequence = Sequence([photograph])
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PlanarConfiguration = 3, "YBR_FULL_422", 0
    made.Rows, made.Columns = drawn.shape[:2]
    made.BitsAllocated = made.BitsStored = 8
    made.HighBit, made.PixelRepresentation = 7, 0
    made.LossyImageCompression, made.LossyImageCompressionMethod = "01", "ISO_10918_1"
    made.LossyImageCompressionRatio = f"{drawn.nbytes / len(jpeg):.2f}"
    made.add_new("PixelData", "OB", encapsulate([jpeg]))
    made["PixelData"].is_undefined_length = True
    return made


def _jpeg(pixels: RGB) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=_QUALITY, subsampling="4:2:2")
    return buffer.getvalue()


def _add_laterality(made: Dataset, source: Source) -> None:
    """The side of the body as the source has it; unknown where it does not say."""
    if "ImageLaterality" in source.image:
        made.ImageLaterality = source.image.ImageLaterality
    else:
        made.Laterality = source.image.get("Laterality", "")
