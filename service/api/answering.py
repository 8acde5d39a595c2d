"""How a prediction is sent: as JSON, as a FHIR transaction (``Accept: application/fhir+json``), or as DICOM objects."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Query, Request, Response

from service.api import dicom_answer
from service.api.dependencies import ServiceDep, ViewDep, require_same_model, shown
from service.api.dicom_answer import Objects
from service.api.negotiation import Parameters, preferred
from service.dicom.identity import KINDS
from service.fhir.study import Study
from service.fhir.transaction import transaction
from service.prediction.schemas import Prediction
from service.prediction.views import View, show
from service.problems import MALFORMED, NOT_ACCEPTABLE, ServiceError
from service.runtime import Service

JSON, FHIR = "application/json", "application/fhir+json"
_KEPT: Mapping[str, Parameters] = {JSON: {"charset": "utf-8"}, FHIR: {"charset": "utf-8", "fhirversion": "4.0"}}
_NEW = {**_KEPT, **dicom_answer.OFFERED}
VARY = {"Vary": "Accept"}
# Browsers send less than 200 characters.
_LONGEST_ACCEPT = 1000

# Added to the ``responses`` of a route that answers with a prediction.
DOCUMENTED: dict[str, Any] = {
    "content": {FHIR: {"schema": {"$ref": "#/components/schemas/FhirTransaction"}}},
    "headers": {"Vary": {"description": "`Accept`", "schema": {"type": "string"}}},
}
_BYTES = {"schema": {"type": "string", "format": "binary"}}
# Of a route that answers with a new one.
DOCUMENTED_NEW = DOCUMENTED | {"content": DOCUMENTED["content"] | dict.fromkeys(dicom_answer.OFFERED, _BYTES)}


@dataclass(frozen=True)
class Fhir:
    """What a FHIR transaction says further: the model card, and the reference of the patient."""

    card: str
    subject: str | None


@dataclass(frozen=True)
class Form:
    """How a client wants its prediction; without ``fhir`` and ``objects``: as JSON."""

    view: View
    fhir: Fhir | None = None
    objects: Objects | None = None

    def takes_from(self, data: bytes) -> bool:
        """Whether something of the file that was judged becomes part of the answer."""
        return self.objects is not None or (self.fhir is not None and dicom_answer.may_have_study(data))


SubjectQuery = Annotated[
    str | None,
    Query(
        pattern=r"^Patient/[A-Za-z0-9\-][A-Za-z0-9\-.]{0,63}$",
        description="with `Accept: application/fhir+json`: the patient, on the server that will get the "
        "transaction; neither kept nor logged",
        examples=["Patient/123"],
    ),
]
_KIND = f"({'|'.join(KINDS)})"
ObjectsQuery = Annotated[
    str | None,
    Query(
        pattern=f"^{_KIND}(,{_KIND}){{0,{len(KINDS) - 1}}}$",
        description="with `Accept: multipart/related`: which DICOM objects, separated by commas; structured report, "
        "segmentation, secondary capture, presentation state. With `application/dicom`: one of them",
        examples=["sr,sc"],
    ),
]


async def choose_form(request: Request, service: ServiceDep, view: ViewDep, subject: SubjectQuery = None) -> Form:
    """How to answer with a kept prediction. Raises the 406 of a media type that is not offered, and the 400 of
    parameters that do not go with it."""
    return await _form(service, view, media_type_for(request, _KEPT, "a kept prediction is sent as"), subject)


async def choose_form_of_new(
    request: Request,
    service: ServiceDep,
    view: ViewDep,
    subject: SubjectQuery = None,
    objects: ObjectsQuery = None,
) -> Form:
    """How to answer with a new prediction. Raises as :func:`choose_form` does: here, before an image is judged for an
    answer that cannot be sent."""
    media_type = media_type_for(request, _NEW, "a prediction is sent as")
    if media_type in dicom_answer.OFFERED:
        _require_no(subject=subject)
        _require_not_raw(view, "a DICOM object")
        return Form(view, objects=dicom_answer.wanted(media_type, objects))
    if objects is not None:
        raise ServiceError(MALFORMED, f"objects: only with Accept: {' or '.join(dicom_answer.OFFERED)}")
    return await _form(service, view, media_type, subject)


FormDep = Annotated[Form, Depends(choose_form)]
NewFormDep = Annotated[Form, Depends(choose_form_of_new)]


async def _form(service: Service, view: View, media_type: str, subject: str | None) -> Form:
    if media_type == JSON:
        _require_no(subject=subject)
        return Form(view)
    _require_not_raw(view, FHIR)
    return Form(view, Fhir(await asyncio.to_thread(service.scheduler.bundle.model_card), subject))


def _require_no(*, subject: str | None) -> None:
    if subject is not None:
        raise ServiceError(MALFORMED, f"subject: only with Accept: {FHIR}")


def _require_not_raw(view: View, what: str) -> None:
    if view.raw:
        raise ServiceError(MALFORMED, f"include: raw figures are for research, and never part of {what}")


async def require_json(request: Request) -> None:
    """Raises the 406 of a request that does not accept JSON."""
    media_type_for(request, {JSON: _KEPT[JSON]}, "a batch is only sent as")


def media_type_for(request: Request, offered: Mapping[str, Parameters], told: str) -> str:
    accept = ", ".join(request.headers.getlist("accept"))
    if len(accept) > _LONGEST_ACCEPT:
        raise ServiceError(MALFORMED, f"Accept: more than {_LONGEST_ACCEPT} characters; send fewer")
    kind = preferred(accept, offered)
    if kind is None:
        detail = f"Accept: {told} {' or '.join(offered)}"
        if dicom_answer.OFFERED and preferred(accept, dicom_answer.OFFERED) is not None:
            detail += "; DICOM objects are made while a DICOM file is judged and not kept: send it to /v1/predictions"
        raise ServiceError(NOT_ACCEPTABLE, detail, headers=VARY)
    return kind


def respond(
    service: Service,
    prediction: Prediction,
    form: Form,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    serialised: str | None = None,
    study: Study | None = None,
) -> Response:
    """The answer in the form that the client wants; ``serialised`` is the whole prediction as JSON, where there is one,
    ``study`` that of the image, while its file is at hand.

    Raises the 409 of a prediction that another model made, whose codes and card are not at hand.
    """
    headers = VARY | dict(headers or {})
    if form.fhir is None:
        return Response(shown(service, prediction, form.view, serialised), status, headers, media_type=JSON)
    require_same_model(service, prediction)
    return Response(_fhir(service, prediction, form.view, form.fhir, study), status, headers, media_type=FHIR)


def _fhir(service: Service, prediction: Prediction, view: View, fhir: Fhir, study: Study | None) -> str:
    manifest = service.scheduler.bundle.manifest
    seen = show(prediction, manifest, view)
    bundle = transaction(seen, manifest.classes, fhir.card, subject=fhir.subject, study=study)
    return json.dumps(bundle, ensure_ascii=False, separators=(",", ":"))
