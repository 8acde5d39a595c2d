"""What an answer takes from the DICOM file that was judged: DICOM objects of its study (``Accept: application/dicom``),
or the study for a FHIR transaction.

It is made while the file is at hand: nothing of patient and study is kept.
"""

from __future__ import annotations

import logging
import re
import secrets
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.access.keys import Caller
from service.api.dependencies import require_same_model
from service.api.negotiation import Parameters
from service.dicom.identity import KINDS, Kind
from service.fhir.study import Study
from service.imaging import PictureError
from service.imaging.kinds import READS_DICOM, is_dicom
from service.prediction.predictor import Result
from service.prediction.schemas import Prediction
from service.prediction.views import View, show
from service.problems import INTERNAL, MALFORMED, NOT_ACCEPTABLE, ServiceError
from service.runtime import Service
from service.storage.store import StoredRecord

# Loading it takes half a second, which only those wait for who ask for DICOM.
if TYPE_CHECKING:
    from service.dicom.source import Source

log = logging.getLogger(__name__)

DICOM, RELATED = "application/dicom", "multipart/related"
# As DICOMweb's clients ask (PS3.18, 8.7.3): in whatever transfer syntax.
_ANY_SYNTAX = {"transfer-syntax": "*"}
OFFERED: Mapping[str, Parameters] = {DICOM: _ANY_SYNTAX, RELATED: {"type": DICOM, **_ANY_SYNTAX}} if READS_DICOM else {}
_MODALITY = re.compile(r"[A-Z0-9_]{1,16}")
_LONGEST_ID = 64  # of DICOM's long strings


@dataclass(frozen=True)
class Objects:
    """Which objects a client wants, in one body or as parts of one."""

    kinds: tuple[Kind, ...]
    in_parts: bool


@dataclass(frozen=True)
class Made:
    """The body of an answer, and its media type."""

    content: bytes
    media_type: str


def wanted(media_type: str, objects: str | None) -> Objects:
    """The objects that a client asks for by name, separated by commas; None: the report.

    Raises the 400 of several in one body.
    """
    asked = (objects or "sr").split(",")
    kinds = tuple(kind for kind in KINDS if kind in asked)
    if media_type == DICOM and len(kinds) > 1:
        raise ServiceError(MALFORMED, f'objects: several only with Accept: {RELATED}; type="{DICOM}"')
    return Objects(kinds, in_parts=media_type == RELATED)


async def source_of(service: Service, caller: Caller, data: bytes) -> Source:
    """Patient, study and image of the file that is to be judged. Raises the 406 of another file, and PictureError."""
    if not is_dicom(data):
        raise ServiceError(
            NOT_ACCEPTABLE,
            "this image is no DICOM file, so there is no study that a DICOM object could belong to: send the DICOM "
            "file itself, or ask for application/json",
        )

    def read() -> Source:
        from service.dicom.source import read_source

        return read_source(data)

    return await service.scheduler.compute(read, caller.counted_as)


async def study_of(service: Service, caller: Caller, data: bytes) -> Study | None:
    """The study of the file that is to be judged; None for another file, or where its identifiers cannot be read."""
    if not may_have_study(data):
        return None
    try:
        source = await source_of(service, caller, data)
    except PictureError:  # where the file is damaged, its decoder says so
        return None
    modality = str(source.image.get("Modality") or "")
    return Study(
        source.study,
        source.series,
        source.instance,
        source.sop_class,
        modality=modality if _MODALITY.fullmatch(modality) else None,
        patient=_line(source.copied.PatientID),
        issuer=_line(source.copied.get("IssuerOfPatientID")),
    )


def may_have_study(data: bytes) -> bool:
    """Whether :func:`study_of` would read the file."""
    return READS_DICOM and is_dicom(data)


def _line(text: object) -> str | None:
    """A short text as FHIR has it, None: there is none."""
    line = str(text or "").strip()
    return line if line and line.isprintable() and len(line) <= _LONGEST_ID else None


async def make(
    service: Service,
    caller: Caller,
    objects: Objects,
    source: Source,
    prediction: Prediction,
    record: Result | StoredRecord,
    view: View,
) -> Made:
    """The body with the objects, which are made in the CPU pool.

    Raises the 409 of a prediction that another model made, and :class:`DamagedRecord`.
    """
    require_same_model(service, prediction)
    manifest = service.scheduler.bundle.manifest
    seen = show(prediction, manifest, view)

    def encoded() -> list[bytes]:
        from service.dicom.objects import build, encode

        maps = record.maps
        with service.metrics.timed("dicom"):
            try:
                made = build(objects.kinds, source, seen, maps, manifest.classes, prevalence=view.prevalence)
                return [encode(item) for item in made]
            except Exception as error:
                raise _failure(error) from None

    bodies = await service.scheduler.compute(encoded, caller.counted_as)
    return _related(bodies) if objects.in_parts else Made(bodies[0], DICOM)


def _failure(error: Exception) -> ServiceError:
    """Logs where it happened and not what it says: that may hold a value of the file."""
    places = "; ".join(f"{each.filename}:{each.lineno}" for each in traceback.extract_tb(error.__traceback__))
    log.error("DICOM objects could not be made: %s at %s", type(error).__name__, places)
    return ServiceError(INTERNAL, "the DICOM objects could not be made; it was logged. JSON may be had still")


def _related(bodies: Sequence[bytes]) -> Made:
    """The objects as parts of one body (RFC 2387)."""
    boundary = secrets.token_hex(16)
    parts = [f"--{boundary}\r\nContent-Type: {DICOM}\r\n\r\n".encode() + body + b"\r\n" for body in bodies]
    return Made(b"".join(parts) + f"--{boundary}--\r\n".encode(), f'{RELATED}; type="{DICOM}"; boundary={boundary}')
