"""A PACS, shared by the tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.service.pacs.orthanc import Orthanc, missing_orthanc


@pytest.fixture(scope="session")
def real_orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """One for all tests."""
    if (reason := missing_orthanc()) is not None:
        pytest.skip(reason)
    server = Orthanc(tmp_path_factory.mktemp("orthanc"))
    yield server
    server.kill()


@pytest.fixture
def orthanc(real_orthanc: Orthanc) -> Orthanc:
    """The server, empty."""
    real_orthanc.empty()
    return real_orthanc
