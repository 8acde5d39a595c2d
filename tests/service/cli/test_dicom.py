"""``cin predict`` with DICOM files, alone and in folders."""

from __future__ import annotations

import json
from pathlib import Path

from tests.service.cli.conftest import cin
from tests.service.imaging.dicoms import PATIENT, of_jpeg
from tests.service.imaging.test_dicom import JPEG
from tests.service.imaging.test_dicom_refusals import REFUSED


def test_dicom_files_get_the_answers_of_their_images(environment: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "export"
    (folder / "STUDY").mkdir(parents=True)
    (folder / "a.jpg").write_bytes(JPEG)
    for name in ("b.dcm", "STUDY/IM000001", "STUDY/1.2.276.0.7230010"):
        (folder / name).write_bytes(of_jpeg(JPEG))
    (folder / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    result = cin("predict", "--json", folder, **environment)
    assert result.exit_code == 0
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert sorted(answer["image"]["format"] for answer in answers) == ["DICOM", "DICOM", "DICOM", "JPEG"]
    assert all(answer["probabilities"] == answers[0]["probabilities"] for answer in answers)
    assert json.loads(result.stderr.splitlines()[-1])["summary"]["left_out"] == {"files without suffix": 1}


def test_a_file_that_is_no_photograph_fails_alone_and_no_patient_is_named(
    environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "image").write_bytes(of_jpeg(JPEG, BurnedInAnnotation="YES"))
    (tmp_path / "report.dcm").write_bytes(REFUSED["report"][2])
    out = tmp_path / "results.csv"
    result = cin("predict", tmp_path / "image", tmp_path / "report.dcm", "--out", out, **environment)
    assert result.exit_code == 1
    table = out.read_text(encoding="utf-8")
    assert "burned_in_annotation" in table
    assert "Comprehensive SR Storage" in result.stderr + table
    for value in PATIENT.values():
        assert value not in result.stdout + result.stderr + table
