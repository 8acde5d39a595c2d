"""A real Orthanc for tests, and what is asked of it beside the client that is tested."""

from __future__ import annotations

import io
import json
import shutil
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
from pydicom import dcmread
from pydicom.dataset import FileDataset

from tests.service.imaging.dicoms import of_jpeg
from tests.service.imaging.test_dicom import JPEG
from tests.service.real_redis import free_port
from tests.service.waiting import wait_until

USER, PASSWORD = "watcher", "open sesame"
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


def missing_orthanc() -> str | None:
    """Why there is no Orthanc here, or None."""
    if shutil.which("Orthanc") is None:
        return "Orthanc is not installed (Debian: orthanc)"
    return None if PLUGIN.exists() else "Orthanc has no DICOMweb plugin (Debian: orthanc-dicomweb)"


def source(number: int, *, study: int = 1, jpeg: bytes = JPEG, **elements: Any) -> bytes:
    """A dermoscopic photograph that is to be stored."""
    told: dict[str, Any] = {
        "Modality": "DMS",
        "StudyDate": "20261101",
        "StudyInstanceUID": f"2.25.100{study}",
        "SeriesInstanceUID": f"2.25.200{study}",
        "SOPInstanceUID": uid_of(number),
        "InstanceNumber": number,
    }
    return of_jpeg(jpeg, **{**told, **elements})


def uid_of(number: int) -> str:
    """The identifier of a photograph that :func:`source` made."""
    return f"2.25.3{number:05}"


class Orthanc:
    """An Orthanc of its own with DICOMweb and authentication, which keeps its data over a restart."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}/dicom-web"
        # Orthanc closes a connection that is idle for a second, also when a request is on its way.
        limits = httpx.Limits(max_keepalive_connections=0)
        address = f"http://127.0.0.1:{self.port}"
        self._rest = httpx.Client(base_url=address, auth=(USER, PASSWORD), timeout=20, limits=limits)
        configuration = {
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "Plugins": [str(PLUGIN)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            "HttpPort": self.port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": True,
            "RegisteredUsers": {USER: PASSWORD},
            "DicomServerEnabled": False,
            **settings,
        }
        (folder / "orthanc.json").write_text(json.dumps(configuration))
        self.start()

    def start(self) -> None:
        with (self.folder / "orthanc.log").open("ab") as log:
            command = ["Orthanc", str(self.folder / "orthanc.json")]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(self._answers, "Orthanc answers", seconds=30)

    def _answers(self) -> bool:
        with suppress(httpx.TransportError):
            return self._rest.get("/system").status_code == 200
        return False

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def put(self, *files: bytes) -> None:
        """Store files as a device would."""
        for file in files:
            assert self._rest.post("/instances", content=file).status_code == 200

    def get(self, path: str) -> Any:
        return self._rest.get(path).json()

    def num_instances(self) -> int:
        """How many there are, of all modalities: it may be asked often, as reading every object may not."""
        num: int = self.get("/statistics")["CountInstances"]
        return num

    def empty(self) -> None:
        for id in self.get("/patients"):
            self._rest.delete(f"/patients/{id}")

    def objects(self, modality: str) -> list[FileDataset]:
        """Every stored instance of a modality."""
        query = {"Level": "Instance", "Query": {"Modality": modality}}
        ids: Sequence[str] = self._rest.post("/tools/find", json=query).json()
        return [dcmread(io.BytesIO(self._rest.get(f"/instances/{id}/file").content)) for id in ids]
