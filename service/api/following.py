"""Which lesion an image shows, at which visit: as parameters of a request, and as fields of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Query
from pydantic import ValidationError

from service.api.dependencies import ServiceDep
from service.ledger.entries import Day, FollowUp, Label
from service.problems import MALFORMED, NO_LEDGER, ServiceError
from service.runtime import Service

LesionQuery = Annotated[
    Label | None,
    Query(
        description="your own label of the lesion, or its DICOM TrackingUID: letters, digits, dots, hyphens and "
        "underscores, with a digit. It is kept in the ledger: never use a name. Default: the TrackingUID that a DICOM "
        "file states, with the date of its study as visit",
        examples=["L-0012"],
    ),
]
VisitQuery = Annotated[
    Day | None,
    Query(description="with `lesion`: date of the visit at which the image was taken; default: today (UTC)"),
]


def require_ledger(service: Service) -> None:
    """Raises the 409 of a service without a ledger."""
    if not service.ledger.kept:
        detail = "this service keeps nothing over time; set CIN_LEDGER to a file, or send the image without lesion"
        raise ServiceError(NO_LEDGER, detail)


async def with_ledger(service: ServiceDep) -> None:
    """For routes that are about the ledger alone."""
    require_ledger(service)


async def choose_follow_up(
    service: ServiceDep, lesion: LesionQuery = None, visit: VisitQuery = None
) -> FollowUp | None:
    """Which lesion the image shows; None: not said. Raises the 400 of a visit without a lesion, and the 409 of a
    service without a ledger: here, before an image is judged that could not be followed."""
    if lesion is None:
        if visit is not None:
            raise ServiceError(MALFORMED, "visit: only with lesion")
        return None
    require_ledger(service)
    return FollowUp(lesion=lesion, visit=visit or datetime.now(UTC).date())


FollowUpDep = Annotated[FollowUp | None, Depends(choose_follow_up)]


def follow_ups(
    service: Service, num: int, lesions: Sequence[str] | None, visits: Sequence[str] | None
) -> list[FollowUp | None]:
    """The same of a batch's ``num`` images, from its fields; an empty label: the image has none."""
    today = str(datetime.now(UTC).date())
    followed: list[FollowUp | None] = []
    for lesion, visit in zip(lesions or [""] * num, visits or [""] * num, strict=True):
        if not lesion:
            if visit:
                raise ServiceError(MALFORMED, "visit: only with lesion")
            followed.append(None)
            continue
        require_ledger(service)
        try:
            followed.append(FollowUp.model_validate({"lesion": lesion, "visit": visit or today}))
        except ValidationError:
            detail = "a field lesion or visit is not accepted: a label has up to 64 letters, digits, dots, hyphens and "
            raise ServiceError(
                MALFORMED, f"{detail}underscores, with a digit, and begins with one or a letter; a visit is a date"
            ) from None
    return followed
