"""Independent programs judge the objects: dicom3tools' validators, and DCMTK's reader of reports."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from service.dicom.identity import KINDS, Kind
from service.prediction.schemas import Prediction
from tests.service.dicom.results import about, photograph, read
from tests.service.fhir.predictions import abstained, prediction

PREDICTIONS = {"advice": prediction(), "no advice": abstained(), "plain": prediction(reasons=[], status="ok")}
SOURCES: dict[str, dict[str, Any]] = {
    "all": {},
    "little": {"without": ("Laterality", "AnatomicRegionSequence", "InstanceNumber", "StudyID", "AccessionNumber")},
    "side of the image": {"without": ("Laterality",), "ImageLaterality": "R", "BurnedInAnnotation": "YES"},
    "photograph": {"sop_class": "1.2.840.10008.5.1.4.1.1.77.1.4", "Modality": "XC"},
    "letters": {"PatientName": "Yamada^Tarou=山田^太郎", "TimezoneOffsetFromUTC": "+0900"},
    "lesion": {"TrackingID": "naevus 7", "TrackingUID": "2.25.77"},
}


def run(name: str, *words: str | Path) -> str:
    """All that a program has to say."""
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed (Debian: dicom3tools, dcmtk)")
    done = subprocess.run([name, *words], capture_output=True, text=True, errors="replace")
    return done.stdout + done.stderr


# Our codes are not the standard's, and what a photograph does not say is unknown.
AS_IT_MUST_BE = ("<99CIN>", "is only permitted to be empty when actually unknown", "to build DICOMDIR - Study ID")


def said(text: str) -> list[str]:
    """What a validator minds."""
    found = [line for line in text.splitlines() if line.startswith(("Error", "Warning"))]
    return [line for line in found if not any(words in line for words in AS_IT_MUST_BE)]


def written(folder: Path, made: Prediction, **elements: Any) -> dict[Kind, Path]:
    files = {kind: folder / f"{kind}.dcm" for kind in KINDS}
    for kind, data in about(made, **elements).items():
        files[kind].write_bytes(data)
    return files


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("made", PREDICTIONS)
def test_dciodvfy_finds_nothing(tmp_path: Path, made: str, source: str) -> None:
    for kind, file in written(tmp_path, PREDICTIONS[made], **SOURCES[source]).items():
        text = run("dciodvfy", file)
        assert said(text) == [], kind
        assert any(name in text for name in ("ComprehensiveSR", "Segmentation", "SCImage", "ColorSoftcopy")), text


def test_dciodvfy_can_find_something(tmp_path: Path) -> None:
    for kind, file in written(tmp_path, prediction()).items():
        damaged = read(file.read_bytes())
        del damaged.StudyInstanceUID
        damaged.save_as(file)
        assert said(run("dciodvfy", file)) != [], kind


def test_dcentvfy_finds_one_patient_and_study(tmp_path: Path) -> None:
    files = [*written(tmp_path, prediction()).values(), tmp_path / "image.dcm", tmp_path / "other.dcm"]
    files[-2].write_bytes(photograph())
    # Another image of the same series, judged on another day.
    later = prediction().model_copy(update={"created_at": prediction().created_at.replace(year=2027)})
    (tmp_path / "of_other").mkdir()
    files[-1].write_bytes(photograph(SOPInstanceUID="2.25.9", InstanceNumber=4, StudyID="S-4711"))
    others = written(tmp_path / "of_other", later, SOPInstanceUID="2.25.9", InstanceNumber=4)
    found = said(run("dcentvfy", *files, *others.values()))
    # It looks for the number of an order in the series of photographs, of any software.
    assert [line for line in found if "<AccessionNumber>" not in line] == []
    stranger = read(files[0].read_bytes())
    stranger.PatientName = "Other"
    stranger.save_as(files[0])
    assert any("PatientName" in line for line in said(run("dcentvfy", *files)))


def test_dsrdump_reads_the_report(tmp_path: Path) -> None:
    text = run("dsrdump", "+Pc", "+Pl", written(tmp_path, prediction())["sr"])
    assert "error" not in text.lower(), text
    assert ',"Melanoma risk")="71"' in text
    assert '(121077,DCM,"Conclusion")="Referral advised.' in text
    assert "Preliminary Flag    : PRELIMINARY" in text
    assert '(130401,DCM,"Visual explanation")=(SC image,)' in text
