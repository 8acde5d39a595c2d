"""``cin dicom watch``: what it refuses before it asks a PACS. What it does then is in tests/service/pacs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.service.cli.conftest import cin

URL = "http://127.0.0.1:9/dicom-web"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--objects", "sr,pdf"), "of sr, seg, sc, pr"),
        (("--objects", ""), "of sr, seg, sc, pr"),
        (("--modality", "OT"), "would get results in turn"),
        (("--modality", "DMS&StudyDate=1"), "a code, such as DMS"),
        (("--since", "yesterday"), "'yesterday' does not match"),
        (("--every", "0"), "0.0 is not in the range"),
    ],
)
def test_wrong_usage(options: tuple[str, str], said: str, environment: dict[str, str]) -> None:
    result = cin("dicom", "watch", URL, *options, **environment)
    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.parametrize(
    ("url", "said"),
    [("pacs.example.org", "none of DICOMweb"), ("http://watcher:secret@127.0.0.1:9/", "set CIN_DICOMWEB_USER")],
)
def test_wrong_addresses(url: str, said: str, environment: dict[str, str]) -> None:
    result = cin("dicom", "watch", url, "--once", **environment)
    assert result.exit_code == 1
    assert said in result.stderr
    assert "secret" not in result.output


def test_a_user_has_a_password(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for file, said in ((None, "CIN_DICOMWEB_PASSWORD_FILE"), ("missing", "No such file"), ("empty", "is empty")):
        told = {} if file is None else {"CIN_DICOMWEB_PASSWORD_FILE": str(tmp_path / file)}
        result = cin("dicom", "watch", URL, "--once", **environment, CIN_DICOMWEB_USER="watcher", **told)
        assert result.exit_code == 1
        assert said in result.stderr
