"""A query in the place of a job's images: what it may ask of a DICOMweb server, and what is found there.

A client never gives an address: it names a server that the operator allows. :mod:`service.pacs.source` asks it.
"""

from __future__ import annotations

from typing import Annotated, Protocol

from pydantic import ConfigDict, Field, StringConstraints

from service.prediction.schemas import Body

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
_UID = r"[0-9]+(\.[0-9]+)*"
_DAY = "[0-9]{8}"
# Their address has room for two dozen of the longest.
Uids = Annotated[str, StringConstraints(pattern=f"^{_UID}(,{_UID})*$", max_length=1600)]
Days = Annotated[str, StringConstraints(pattern=f"^({_DAY}|{_DAY}-|-{_DAY}|{_DAY}-{_DAY})$")]


class Matching(Body):
    """Which instances are meant, in the words of QIDO-RS. None of them names a patient."""

    Modality: str = Field("DMS", pattern="^[A-Z0-9_]{1,16}$", description="of the series; `DMS` is dermoscopy")
    StudyDate: Days | None = Field(None, description="a day, or a range of days", examples=["20260101-20260131"])
    StudyInstanceUID: Uids | None = Field(None, description="one, or several, separated by commas")
    SeriesInstanceUID: Uids | None = Field(None, description="one, or several, separated by commas")
    SOPInstanceUID: Uids | None = Field(None, description="one, or several, separated by commas")


class DicomwebQuery(Body):
    """Instances on a DICOMweb server."""

    server: str = Field(
        pattern=NAME, description="one that `CIN_DICOMWEB_SERVERS` names for this client", examples=["pacs"]
    )
    query: Matching = Field(
        default_factory=lambda: Matching.model_validate({}), description="what must match; all of it does"
    )


class JobRequest(Body):
    """A job whose images are on a DICOMweb server."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"dicomweb": {"server": "pacs", "query": {"StudyDate": "20260101-20260131"}}}]}
    )

    dicomweb: DicomwebQuery = Field(description="which images")


class InstanceUids(Body):
    """An image on a DICOMweb server, by DICOM's names."""

    model_config = ConfigDict(frozen=True)

    StudyInstanceUID: str = Field(description="of its study")
    SeriesInstanceUID: str = Field(description="of its series")
    SOPInstanceUID: str = Field(description="its own")


class Source(Protocol):
    """Asks the servers. Both raise :class:`service.problems.ServiceError`."""

    async def search(self, asked: DicomwebQuery, most: int) -> list[InstanceUids]:
        """The instances that match, ``most`` of them at most."""

    async def retrieve(self, server: str, instance: InstanceUids) -> bytes:
        """The DICOM file of an instance."""
