"""``cin dicom watch`` as a process, and a real PACS."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import uid

from service.bundle import Bundle
from service.dicom import objects
from tests.paths import REPOSITORY
from tests.service.imaging.dicoms import PATIENT
from tests.service.pacs.orthanc import PASSWORD, USER, Orthanc, missing_orthanc, source, uid_of
from tests.service.real_redis import free_port
from tests.service.served import MEASURED, PROGRAM
from tests.service.waiting import wait_until

pytestmark = pytest.mark.skipif(missing_orthanc() is not None, reason=missing_orthanc() or "")

MANY = 27


@dataclass
class Watcher:
    """A running command, and everything it has said so far."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    def num_said(self, what: str) -> int:
        return sum(what in line for line in self.lines)

    def wait(self) -> int:
        return self.process.wait(60)


@pytest.fixture
def environment(tiny_bundle: Bundle, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    return {
        **MEASURED,
        "PYTHONPATH": str(REPOSITORY),
        "CIN_BUNDLE": str(tiny_bundle.folder),
        "CIN_PROVIDER": "cpu",
        "CIN_INFERENCE_THREADS": "1",
        "CIN_LOG_LEVEL": "debug",
        "CIN_DICOMWEB_USER": USER,
        "CIN_DICOMWEB_PASSWORD_FILE": str(tmp_path / "password"),
    }


@contextmanager
def watching(url: str, environment: dict[str, str], *options: str) -> Iterator[Watcher]:
    command = [sys.executable, "-c", PROGRAM, "dicom", "watch", url, *options]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    watcher = Watcher(process)

    def listen() -> None:
        assert process.stdout is not None
        watcher.lines.extend(iter(process.stdout.readline, ""))

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        yield watcher
    finally:
        process.kill()
        process.wait()
        listener.join()


def ended(url: str, environment: dict[str, str], *options: str) -> tuple[int, str]:
    """Exit code and output of a command that ends by itself."""
    with watching(url, environment, *options) as watcher:
        code = watcher.wait()
    return code, "".join(watcher.lines)


def sources_of_reports(orthanc: Orthanc) -> Counter[str]:
    """How many reports each image has."""
    return Counter(
        report.CurrentRequestedProcedureEvidenceSequence[0]
        .ReferencedSeriesSequence[0]
        .ReferencedSOPSequence[0]["ReferencedSOPInstanceUID"]
        .value
        for report in orthanc.objects("SR")
    )


def reports(orthanc: Orthanc) -> list[bytes]:
    """The files of all reports, as they were sent."""
    return [objects.encode(report) for report in orthanc.objects("SR")]


def one_each(num: int) -> Counter[str]:
    return Counter(uid_of(number) for number in range(num))


def test_results_come_back_into_the_study(orthanc: Orthanc, environment: dict[str, str]) -> None:
    orthanc.put(source(0), source(1), source(2, study=2))
    orthanc.put(source(3, sop_class=uid.EncapsulatedPDFStorage), source(4, StudyDate="20261031", study=3))
    options = ("--once", "--objects", "sr,seg,sc,pr", "--since", "2026-11-01")
    code, said = ended(orthanc.url, environment, *options)
    assert code == 0, said
    assert "left out: Encapsulated PDF Storage: 1" in said
    assert "end: 3 stored, 0 present, 0 failed, 1 skipped" in said
    assert sources_of_reports(orthanc) == one_each(3)
    for modality in ("SR", "SEG", "OT", "PR"):
        found = orthanc.objects(modality)
        assert sorted(item.StudyInstanceUID for item in found) == ["2.25.1001", "2.25.1001", "2.25.1002"]
        assert {str(item.PatientName) for item in found} == {PATIENT["PatientName"]}
    code, said = ended(orthanc.url, environment, *options)
    assert (code, "end: 0 stored, 3 present, 0 failed, 1 skipped" in said) == (0, True), said
    assert len(orthanc.get("/instances")) == 5 + 4 * 3


def test_a_killed_watcher_leaves_nothing_undone_and_nothing_twice(
    orthanc: Orthanc, environment: dict[str, str]
) -> None:
    orthanc.put(*(source(number) for number in range(MANY)))
    with watching(orthanc.url, environment) as watcher:
        wait_until(lambda: watcher.num_said("results stored") >= 20, "20 results", seconds=60)
        watcher.process.kill()
    before = sources_of_reports(orthanc)
    assert 20 <= before.total() < MANY
    code, said = ended(orthanc.url, environment, "--once")
    assert code == 0, said
    num_new = said.count("results stored")
    # The PACS may have been storing when the watcher was killed.
    assert 0 < num_new <= MANY - before.total()
    assert f"end: {num_new} stored, {MANY - num_new} present, 0 failed" in said
    assert sources_of_reports(orthanc) == one_each(MANY)


@pytest.mark.parametrize("overwrite", [False, True])
def test_two_watchers_at_once_give_one_result_an_image(
    overwrite: bool, environment: dict[str, str], tmp_path: Path
) -> None:
    orthanc = Orthanc(tmp_path, OverwriteInstances=overwrite)
    try:
        orthanc.put(*(source(number) for number in range(MANY)))
        with (
            watching(orthanc.url, environment, "--once") as one,
            watching(orthanc.url, environment, "--once") as other,
        ):
            assert (one.wait(), other.wait()) == (0, 0), "".join(one.lines + other.lines)
        assert sources_of_reports(orthanc) == one_each(MANY)
        # What is stored a second time replaces itself, or is left as it is.
        orthanc.put(*reports(orthanc))
        assert sources_of_reports(orthanc) == one_each(MANY)
    finally:
        orthanc.kill()


def test_a_pacs_that_dies_and_comes_back_gets_everything(environment: dict[str, str], tmp_path: Path) -> None:
    orthanc = Orthanc(tmp_path)
    try:
        orthanc.put(*(source(number) for number in range(MANY)))
        with watching(orthanc.url, environment, "--every", "1") as watcher:
            wait_until(lambda: watcher.num_said("results stored") >= 9, "9 results", seconds=60)
            orthanc.kill()
            # What instances under way say has the same words, in as many lines as there are.
            away = "ERROR service.pacs.watch: the PACS cannot be reached"
            wait_until(lambda: watcher.num_said(away) == 1, "it notices", seconds=60)
            assert watcher.process.poll() is None
            orthanc.start()
            wait_until(lambda: orthanc.num_instances() == 2 * MANY, "all results", seconds=60)
            orthanc.put(source(MANY))
            wait_until(lambda: orthanc.num_instances() == 2 * (MANY + 1), "one more", seconds=30)
            watcher.process.send_signal(signal.SIGTERM)
            assert watcher.wait() == 0
        assert sources_of_reports(orthanc) == one_each(MANY + 1)
        assert [watcher.num_said(what) for what in (away, "the PACS answers again")] == [1, 1]
    finally:
        orthanc.kill()


def test_sigterm_ends_it_after_the_images_under_way(orthanc: Orthanc, environment: dict[str, str]) -> None:
    orthanc.put(*(source(number) for number in range(MANY)))
    with watching(orthanc.url, environment) as watcher:
        wait_until(lambda: watcher.num_said("results stored") >= 3, "3 results", seconds=60)
        watcher.process.send_signal(signal.SIGTERM)
        assert watcher.wait() == 0
    num_said = watcher.num_said("results stored")
    assert num_said == sources_of_reports(orthanc).total() < MANY
    assert f"end: {num_said} stored" in watcher.lines[-1]


def test_one_bad_file_does_not_stop_the_others_and_no_patient_is_named(
    orthanc: Orthanc, environment: dict[str, str]
) -> None:
    named: dict[str, Any] = dict.fromkeys(("ImageComments", "InstitutionName", "StudyID"), "Zaphod Quux")
    orthanc.put(
        source(0, **named),
        source(1, Columns=65, **named),
        source(2, without=("PhotometricInterpretation",), **named),
        source(3, NumberOfFrames="2", **named),
        source(4, study=4, **named),
    )
    port = free_port()
    with watching(
        orthanc.url, {**environment, "CIN_METRICS_PORT": str(port)}, "--every", "1", "--objects", "sr,sc"
    ) as watcher:
        wait_until(lambda: watcher.num_said("results stored") == 2, "2 results", seconds=60)
        wait_until(lambda: watcher.num_said("next try after") >= 4, "a second try", seconds=60)
        metrics = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        watcher.process.send_signal(signal.SIGTERM)
        assert watcher.wait() == 0
    said = "".join(watcher.lines)
    assert sources_of_reports(orthanc) == Counter([uid_of(0), uid_of(4)])
    assert 'cin_pacs_instances_total{outcome="stored"} 2.0' in metrics
    assert "cin_pacs_reachable 1.0" in metrics
    for secret in (*PATIENT.values(), "Nachname", "Zaphod", PASSWORD, "2.25.1001"):
        assert secret not in said + metrics, secret
    code, said = ended(orthanc.url, environment, "--once")
    assert code == 1
    assert "2 failed" in said


def test_it_says_what_to_change(orthanc: Orthanc, environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "wrong").write_text("wrong")
    wrong = {**environment, "CIN_DICOMWEB_PASSWORD_FILE": str(tmp_path / "wrong")}
    for options in ((), ("--once",)):
        code, said = ended(orthanc.url, wrong, *options)
        assert (code, "refuses access (401); check CIN_DICOMWEB_USER" in said) == (1, True), said
    code, said = ended("http://127.0.0.1:9/dicom-web", environment, "--once")
    assert (code, "cannot be reached" in said) == (1, True), said
