"""What results take over from the DICOM file that was judged: patient, study, and the image to refer to.

It holds the patient's name. It is in memory for one request, and must not get into a log, a message or a record: its
``repr`` shows nothing of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from pydicom import config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset

from service.dicom.coding import Code, read_code
from service.imaging import PictureError, UndecodablePicture
from service.imaging.dicom import read_elements
from service.imaging.kinds import damaged

_PATIENT = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex"),
    *("PatientIdentityRemoved", "DeidentificationMethod"),
)
_STUDY = (
    *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber"),
    "ReferringPhysicianName",
)
# Every object has these, if only empty.
_NEEDED = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
)
_UIDS = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
_OF_IMAGE = (
    *("Modality", "InstanceNumber", "Laterality", "ImageLaterality", "TimezoneOffsetFromUTC"),
    *("TrackingID", "TrackingUID"),
)
_SITE = "AnatomicRegionSequence"
_PROFILE = "ICCProfile"

# Bytes of a value. The longest that DICOM allows here, a name in three scripts, has 194 characters.
_MOST_BYTES = 1024
_MOST_SITE_BYTES = 4096
_MOST_PROFILE_BYTES = 2**20
_UID = re.compile(r"[0-9.]{1,64}")
_INSTEAD = "store it again, or ask for JSON"


@dataclass(frozen=True)
class Source:
    """The image that was judged.

    ``copied`` has the elements of patient and study as they are to be written again, in UTF-8; ``image`` those of the
    image that say where its lesion is and which one it is.
    """

    sop_class: str = field(repr=False)
    instance: str = field(repr=False)
    series: str = field(repr=False)
    study: str = field(repr=False)
    copied: Dataset = field(repr=False)
    image: Dataset = field(repr=False)
    site: Code | None = field(default=None, repr=False)
    site_laterality: Code | None = field(default=None, repr=False)
    profile: bytes | None = field(default=None, repr=False)


def read_source(data: bytes) -> Source:
    """What results take over from a DICOM file, in a bounded time: reads are counted, and long values refused.

    Raises a :class:`service.imaging.PictureError`: as the file's decoder does, and :class:`UndecodablePicture` where
    the file lacks what ties a result to its study, or has it in a form that cannot be written again.
    """
    with _refusing(data):
        return _read_source(data)


def read_uids(data: bytes) -> tuple[str, str, str]:
    """The identifiers of a DICOM file's study, its series and itself. Raises as :func:`read_source`."""
    with _refusing(data):
        content = read_elements(data, _UIDS)
        _, instance, series, study = (_uid(content, name) for name in _UIDS)
        return study, series, instance


@contextmanager
def _refusing(data: bytes) -> Iterator[None]:
    try:
        yield
    except PictureError:
        raise
    except Exception:  # pydicom raises many types, with values of the file in their texts
        raise damaged(data) from None


def _read_source(data: bytes) -> Source:
    content = read_elements(data, (*_UIDS, *_PATIENT, *_STUDY, *_OF_IMAGE, _SITE, _PROFILE))
    sop_class, instance, series, study = (_uid(content, name) for name in _UIDS)
    copied = _copy(content, (*_PATIENT, *_STUDY))
    for name in _NEEDED:
        if name not in copied:
            setattr(copied, name, "")
    site, laterality = _site(content)
    return Source(
        sop_class, instance, series, study, copied, _copy(content, _OF_IMAGE), site, laterality, _profile(content)
    )


def _copy(content: Dataset, names: tuple[str, ...]) -> Dataset:
    copied = Dataset()
    for name in names:
        if name in content:
            tag, vr = _tag(name), dictionary_VR(_tag(name))
            copied[tag] = DataElement(tag, vr, _text(content, name, vr), validation_mode=config.IGNORE)
    return copied


def _text(content: Dataset, name: str, vr: str) -> str:
    """A value as text; several are separated by backslashes, as they are in files."""
    if _length(content, name) > _MOST_BYTES:
        raise UndecodablePicture(f"the DICOM file's {name} is longer than {_MOST_BYTES:,} bytes: {_INSTEAD}")
    element = content[name]
    if vr != element.VR:
        raise UndecodablePicture(f"the DICOM file's {name} is of another type than DICOM's: {_INSTEAD}")
    values = element.value if element.VM > 1 else [element.value]
    text = "\\".join("" if value is None else str(value) for value in values)
    if "\N{REPLACEMENT CHARACTER}" in text:
        raise UndecodablePicture(
            f"the DICOM file's {name} is not in the characters that its SpecificCharacterSet states: {_INSTEAD}"
        )
    return text


def _uid(content: Dataset, name: str) -> str:
    if name not in content:
        raise UndecodablePicture(f"the DICOM file lacks {name}, which ties a result to its study: {_INSTEAD}")
    uid = _text(content, name, "UI")
    if _UID.fullmatch(uid) is None:
        raise UndecodablePicture(f"the DICOM file's {name} is no identifier (UID): {_INSTEAD}")
    return uid


def _site(content: Dataset) -> tuple[Code | None, Code | None]:
    """Where on the body the lesion is, and on which side; none where the file does not say it in codes."""
    with suppress(Exception):  # a result is about the image, wherever that was taken
        if 0 < _length(content, _SITE) <= _MOST_SITE_BYTES:
            region = content[_SITE].value[0]
            modifiers = region.get("AnatomicRegionModifierSequence")
            return read_code(region), read_code(modifiers[0]) if modifiers else None
    return None, None


def _profile(content: Dataset) -> bytes | None:
    is_usable = 0 < _length(content, _PROFILE) <= _MOST_PROFILE_BYTES
    return bytes(content[_PROFILE].value) if is_usable else None


def _length(content: Dataset, name: str) -> int:
    """Bytes of a value before it is decoded; 0: there is none. What was decoded while it was read counts as one."""
    element = content.get_item(_tag(name)) if name in content else None
    if element is None:
        return 0
    return len(element.value or b"") if isinstance(element, RawDataElement) else 1


def _tag(name: str) -> int:
    tag = tag_for_keyword(name)
    assert tag is not None
    return tag
