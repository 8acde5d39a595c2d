"""What results take over from a file: patient and study as they are, or a refusal that names the element."""

from __future__ import annotations

import struct
import time
from typing import Any

import pytest
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from service.dicom.coding import Code
from service.dicom.source import read_source
from service.imaging import UndecodablePicture, UnsupportedPicture
from tests.service.dicom.results import INSTANCE, SERIES, code, photograph
from tests.service.imaging.cases import PIXELS
from tests.service.imaging.dicoms import DERMOSCOPY, PATIENT, data_set_at, of_array


def test_patient_study_and_image_are_taken_over() -> None:
    source = read_source(photograph())
    assert (source.sop_class, source.instance, source.series) == (DERMOSCOPY, INSTANCE, SERIES)
    assert source.study == PATIENT["StudyInstanceUID"]
    assert {name: source.copied[name].value for name in PATIENT} == PATIENT
    assert source.copied.StudyTime == "101500"
    assert (source.site, source.site_laterality) == (
        Code("40983000", "SCT", "Upper arm"),
        Code("7771000", "SCT", "Left"),
    )
    assert source.image.Laterality == "L"


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_in_every_encoding_of_data_sets(syntax: str) -> None:
    source = read_source(of_array(PIXELS, syntax=syntax, SeriesInstanceUID=SERIES, InstanceNumber=7))
    assert source.copied.PatientName == PATIENT["PatientName"]
    assert source.image.InstanceNumber == 7


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 100", "Müller^Jürg"),
        ("ISO_IR 192", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["ISO 2022 IR 6", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
    ],
)
def test_names_keep_their_letters(charset: str | list[str], name: str) -> None:
    source = read_source(photograph(SpecificCharacterSet=charset, PatientName=name))
    assert str(source.copied.PatientName) == name


def test_what_is_absent_is_there_and_empty() -> None:
    without = ("PatientName", "PatientID", "PatientBirthDate", "AccessionNumber", "IssuerOfPatientID")
    source = read_source(photograph(without=without, AnatomicRegionSequence=[Dataset()]))
    assert {name: str(source.copied.get(name)) for name in without} == {
        **dict.fromkeys(without, ""),
        "IssuerOfPatientID": "None",  # DICOM does not need it
    }
    assert source.site is None


@pytest.mark.parametrize("name", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
def test_a_file_that_lacks_its_study_is_refused(name: str) -> None:
    with pytest.raises(UndecodablePicture, match=f"lacks {name}.*JSON"):
        read_source(photograph(without=(name,)))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("elements", "words"),
    [
        ({"StudyInstanceUID": "4711 or so"}, "StudyInstanceUID is no identifier"),
        ({"SeriesInstanceUID": ["1.2", "1.3"]}, "SeriesInstanceUID is no identifier"),
        ({"PatientName": "x" * 1100}, "PatientName is longer than 1,024 bytes"),
        ({"StudyDescription": "\N{REPLACEMENT CHARACTER}"}, "StudyDescription is not in the characters"),
    ],
)
def test_what_cannot_be_written_again_is_refused_by_name(elements: dict[str, Any], words: str) -> None:
    with pytest.raises(UndecodablePicture, match=words) as refused:
        read_source(photograph(**elements))
    assert not any(str(value) in str(refused.value) for value in (*elements.values(), *PATIENT.values()))


def test_other_objects_are_refused_as_they_are_for_decoding() -> None:
    with pytest.raises(UnsupportedPicture, match="Comprehensive SR"):
        read_source(photograph(sop_class=uid.ComprehensiveSRStorage))


@pytest.mark.parametrize("cut", [0.001, 0.005, 0.01])
def test_a_damaged_file_is_refused_without_its_text(cut: float) -> None:
    whole = photograph()
    with pytest.raises(UndecodablePicture) as refused:
        read_source(whole[: 132 + int(cut * len(whole))])
    assert not any(value in str(refused.value) for value in PATIENT.values())
    assert refused.value.__suppress_context__ or refused.value.__cause__ is None


def test_nothing_of_a_patient_is_shown_by_accident() -> None:
    assert repr(read_source(photograph())) == "Source()"


def _before_everything(data: bytes, more: bytes) -> bytes:
    at = data_set_at(data)
    return data[:at] + more + data[at:]


ITEM, END = struct.pack("<HHI", 0xFFFE, 0xE000, 0), struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
BOMBS = {
    "empty elements": struct.pack("<HH2sH", 0x0008, 0x0001, b"SH", 0) * 2_000_000,
    "empty items": struct.pack("<HH2sHI", 0x0008, 0x0006, b"SQ", 0, 0xFFFFFFFF) + ITEM * 2_000_000 + END,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_file_of_millions_of_parts_ends_soon(name: str) -> None:
    began = time.process_time()
    with pytest.raises(UndecodablePicture):
        read_source(_before_everything(photograph(), BOMBS[name]))
    assert time.process_time() - began < 2  # 20 to 60 s without limits


def test_a_site_of_millions_of_items_is_left_out() -> None:
    site = photograph(AnatomicRegionSequence=[code("1", "x") for _ in range(2_000)])
    began = time.process_time()
    assert read_source(site).site is None
    assert time.process_time() - began < 1
