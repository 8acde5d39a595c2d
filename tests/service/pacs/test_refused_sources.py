"""What a DICOMweb server may not give a job, and how it may not be configured."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from service.jobs.dicomweb import InstanceUids
from service.jobs.servers import DicomwebServer
from service.pacs.client import PacsRefused
from service.pacs.multipart import joined
from service.pacs.source import PacsSource, open_source
from service.problems import PACS_FAILED, ServiceError
from service.settings import Settings
from tests.service.pacs.memory_pacs import MemoryPacs, response
from tests.service.pacs.orthanc import source, uid_of


@pytest.mark.parametrize("other", ["SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"])
def test_a_file_of_another_image_is_no_answer(other: str) -> None:
    elements: dict[str, Any] = {other: "2.25.9"}
    instance = InstanceUids(StudyInstanceUID="2.25.1001", SeriesInstanceUID="2.25.2001", SOPInstanceUID=uid_of(0))

    async def retrieved(data: bytes) -> bytes:
        pacs = MemoryPacs([])
        content_type, body = joined([data])
        pacs.instead = lambda method, path: response(body, content_type)
        async with pacs.client() as client:
            return await PacsSource({"pacs": client}).retrieve("pacs", instance)

    assert asyncio.run(retrieved(source(0))) == source(0)
    with pytest.raises(ServiceError, match="another instance") as raised:
        asyncio.run(retrieved(source(0, **elements)))
    assert raised.value.problem is PACS_FAILED


@pytest.mark.parametrize(
    ("url", "password", "said"),
    [
        ("ftp://pacs/", "x", "none of DICOMweb"),
        ("http://u:secret@pacs/", "x", "holds a user"),
        ("http://pacs/", "", "is empty"),
    ],
)
def test_a_server_that_cannot_be_asked_as_it_is_configured_is_refused(
    tmp_path: Path, url: str, password: str, said: str
) -> None:
    servers = {"pacs": DicomwebServer(url=url, user="cin", password_file=tmp_path / "password")}
    (tmp_path / "password").write_text(f"{password}\n")

    async def opened() -> None:
        async with open_source(servers, Settings()):
            pass

    with pytest.raises(PacsRefused, match="CIN_DICOMWEB_SERVERS: pacs: ") as raised:
        asyncio.run(opened())
    assert said in str(raised.value)
    assert "secret" not in str(raised.value)
