"""The images of jobs that name a query: which there are on a DICOMweb server, and the file of each.

Only servers that the operator named are asked. Nothing is kept here: a job has the identifiers, and a file is in memory
while its image is predicted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from service.dicom.source import read_uids
from service.jobs.dicomweb import DicomwebQuery, InstanceUids
from service.jobs.servers import DicomwebServer
from service.pacs.client import OTHER_INSTANCE, Instance, Pacs, PacsAway, PacsError, PacsRefused, PacsTooLarge
from service.pacs.opening import open_pacs
from service.problems import PACS_AWAY, PACS_FAILED, PACS_REFUSED, TOO_LARGE, ServiceError
from service.settings import Settings

log = logging.getLogger(__name__)

_PROBLEMS = {PacsAway: PACS_AWAY, PacsRefused: PACS_REFUSED, PacsTooLarge: TOO_LARGE}
_REMEDIES = {
    PACS_AWAY: "each of many times; send the job again when it is back",
    PACS_REFUSED: "ask the operator of this service",
    PACS_FAILED: "each of several times; send the job again",
    TOO_LARGE: "ask for less, or the operator to raise the limit",
}


@dataclass(frozen=True)
class PacsSource:
    """Lives on one event loop."""

    servers: Mapping[str, Pacs]
    _trouble: dict[str, str] = field(default_factory=dict)  # by server, as it was logged

    async def search(self, asked: DicomwebQuery, most: int) -> list[InstanceUids]:
        """The instances that match, ``most`` of them at most. Raises :class:`ServiceError`."""
        found: list[InstanceUids] = []
        with self._asking(asked.server) as pacs:
            async for page in pacs.search(asked.query.model_dump(exclude_none=True)):
                found += [_named(instance) for instance in page]
                if len(found) > most:
                    detail = f"the query finds more than {most:,} images; ask for fewer, as by StudyDate"
                    raise ServiceError(TOO_LARGE, detail)
        return found

    async def retrieve(self, server: str, instance: InstanceUids) -> bytes:
        """The DICOM file of an instance. Raises :class:`ServiceError`, and :class:`service.imaging.PictureError` as its
        decoder does."""
        study, series, uid = instance.StudyInstanceUID, instance.SeriesInstanceUID, instance.SOPInstanceUID
        with self._asking(server) as pacs:
            data = await pacs.retrieve(Instance(study, series, uid, "", 1))
        if await asyncio.to_thread(read_uids, data) != (study, series, uid):
            raise ServiceError(PACS_FAILED, OTHER_INSTANCE)  # another patient's, perhaps
        return data

    @contextmanager
    def _asking(self, server: str) -> Iterator[Pacs]:
        if server not in self.servers:
            raise ServiceError(PACS_REFUSED, "the service has no DICOMweb server of this name any more")
        try:
            yield self.servers[server]
        except PacsError as error:
            if self._trouble.get(server) != str(error):  # once, not for every image
                log.error("the DICOMweb server %s: %s", server, error)
            self._trouble[server] = str(error)
            problem = _PROBLEMS.get(type(error), PACS_FAILED)
            raise ServiceError(problem, f"{error}; {_REMEDIES[problem]}") from error
        if self._trouble.pop(server, None) is not None:
            log.info("the DICOMweb server %s answers again", server)


@asynccontextmanager
async def open_source(servers: Mapping[str, DicomwebServer], settings: Settings) -> AsyncIterator[PacsSource]:
    """The source of jobs' images. Raises :class:`PacsRefused` for a server that cannot be asked as it is configured."""
    async with AsyncExitStack() as stack:
        opened: dict[str, Pacs] = {}
        for name, server in servers.items():
            try:
                pacs = open_pacs(server.url, server.user, server.password_file, settings)
            except PacsRefused as error:
                raise PacsRefused(f"CIN_DICOMWEB_SERVERS: {name}: {error}") from error
            opened[name] = await stack.enter_async_context(pacs)
        yield PacsSource(opened)


def _named(instance: Instance) -> InstanceUids:
    return InstanceUids(StudyInstanceUID=instance.study, SeriesInstanceUID=instance.series, SOPInstanceUID=instance.uid)
