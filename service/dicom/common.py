"""What all objects about a prediction have: patient and study, their series, the model, times, and references."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

from service.dicom.coding import OURS, Code, item
from service.dicom.identity import Kind, uid_of
from service.dicom.source import Source
from service.prediction.schemas import ModelBody, Prediction

MAKER = "Clinical-Inspired Network"
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
SKIN_LESION = Code("95324001", "SCT", "Skin lesion")

# Modality, number and description of a series.
_SERIES: dict[Kind, tuple[str, int, str]] = {
    "sr": ("SR", 9701, "AI, research only: advice"),
    "seg": ("SEG", 9702, "AI, research only: lesion area"),
    "sc": ("OT", 9703, "AI, research only: lesion map"),
    "pr": ("PR", 9704, "AI, research only: crop box"),
}


def begin(kind: Kind, sop_class: str, uid: str, source: Source, prediction: Prediction, syntax: str) -> Dataset:
    """An object of the source's study, in a series for this kind, source series and model; its content is to follow."""
    made = Dataset()
    made.SpecificCharacterSet = "ISO_IR 192"
    made.update(source.copied)
    made.SOPClassUID, made.SOPInstanceUID = sop_class, uid
    date, time = date_and_time(prediction.created_at, source)
    made.InstanceCreationDate = made.ContentDate = date
    made.InstanceCreationTime = made.ContentTime = time
    if "TimezoneOffsetFromUTC" in source.image:
        made.TimezoneOffsetFromUTC = source.image.TimezoneOffsetFromUTC
    model = prediction.model
    made.Modality, made.SeriesNumber, made.SeriesDescription = _SERIES[kind]
    made.SeriesInstanceUID = uid_of(source.series, model.sha256, kind, "series")
    made.InstanceNumber = source.image.get("InstanceNumber") or 1
    made.Manufacturer, made.ManufacturerModelName = MAKER, model.name
    made.SoftwareVersions, made.DeviceSerialNumber = model.version, model.sha256
    made.file_meta = FileMetaDataset()
    made.file_meta.MediaStorageSOPClassUID, made.file_meta.MediaStorageSOPInstanceUID = UID(sop_class), UID(uid)
    made.file_meta.TransferSyntaxUID = UID(syntax)
    return made


def date_and_time(at: datetime, source: Source) -> tuple[str, str]:
    """A time as DICOM has it, in the source's time zone; in this machine's where the source does not state one."""
    offset = str(source.image.get("TimezoneOffsetFromUTC") or "")
    zone = None
    if len(offset) == 5 and offset[0] in "+-" and offset[1:].isascii() and offset[1:].isdigit():
        minutes = 60 * int(offset[1:3]) + int(offset[3:])
        zone = timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes)) if minutes < 24 * 60 else None
    local = at.astimezone(zone)
    return local.strftime("%Y%m%d"), local.strftime("%H%M%S.%f")


def lesion_tracking(source: Source) -> tuple[str, str]:
    """Identifier and UID of the lesion: the source's, or else ones that follow from the image."""
    uid = source.image.get("TrackingUID")
    return str(source.image.get("TrackingID") or "Lesion"), str(uid or uid_of(source.instance, "lesion"))


def algorithm(model: ModelBody) -> Dataset:
    """The model, as the item of an Algorithm Identification Sequence."""
    described = Dataset()
    described.AlgorithmName, described.AlgorithmVersion, described.AlgorithmSource = model.name, model.version, MAKER
    described.AlgorithmParameters = f"sha256={model.sha256}"
    described.AlgorithmFamilyCodeSequence = Sequence([item(ARTIFICIAL_INTELLIGENCE)])
    return described


def reference(sop_class: str, instance: str) -> Dataset:
    """A reference to an instance."""
    referred = Dataset()
    referred.ReferencedSOPClassUID, referred.ReferencedSOPInstanceUID = sop_class, instance
    return referred


def our_scheme() -> Dataset:
    """What the designator of this software's codes stands for."""
    scheme = Dataset()
    scheme.CodingSchemeDesignator = OURS
    scheme.CodingSchemeName, scheme.CodingSchemeResponsibleOrganization = f"{MAKER}, codes of its own", MAKER
    return scheme
