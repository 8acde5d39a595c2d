"""How a prediction is sent: as JSON, or as a FHIR transaction (``Accept: application/fhir+json``)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Query, Request, Response

from service.api.dependencies import ServiceDep, ViewDep, shown
from service.api.negotiation import Parameters, preferred
from service.fhir.transaction import transaction
from service.prediction.schemas import Prediction
from service.prediction.views import View, show
from service.problems import CONFLICT, MALFORMED, NOT_ACCEPTABLE, ServiceError
from service.runtime import Service

JSON, FHIR = "application/json", "application/fhir+json"
_OFFERED: Mapping[str, Parameters] = {JSON: {"charset": "utf-8"}, FHIR: {"charset": "utf-8", "fhirversion": "4.0"}}
VARY = {"Vary": "Accept"}
# Browsers send less than 200 characters.
_LONGEST_ACCEPT = 1000

# Added to the ``responses`` of a route that answers with a prediction.
DOCUMENTED: dict[str, Any] = {
    "content": {FHIR: {"schema": {"$ref": "#/components/schemas/FhirTransaction"}}},
    "headers": {"Vary": {"description": "`Accept`", "schema": {"type": "string"}}},
}


@dataclass(frozen=True)
class Fhir:
    """What a FHIR transaction says further: the model card, and the reference of the patient."""

    card: str
    subject: str | None


@dataclass(frozen=True)
class Form:
    """How a client wants its prediction; ``fhir`` is None for JSON."""

    view: View
    fhir: Fhir | None = None


async def choose_form(
    request: Request,
    service: ServiceDep,
    view: ViewDep,
    subject: Annotated[
        str | None,
        Query(
            pattern=r"^Patient/[A-Za-z0-9\-][A-Za-z0-9\-.]{0,63}$",
            description="with `Accept: application/fhir+json`: the patient, on the server that will get the "
            "transaction; neither kept nor logged",
            examples=["Patient/123"],
        ),
    ] = None,
) -> Form:
    """How to answer. Raises the 406 of a media type that is not offered, and the 400 of parameters that do not go
    with it: here, before an image is judged for an answer that cannot be sent."""
    if _media_type(request, _OFFERED, "a prediction is sent as") == JSON:
        if subject is not None:
            raise ServiceError(MALFORMED, f"subject: only with Accept: {FHIR}")
        return Form(view)
    if view.raw:
        raise ServiceError(MALFORMED, f"include: raw figures are for research, and never part of {FHIR}")
    return Form(view, Fhir(await asyncio.to_thread(service.network.bundle.model_card), subject))


FormDep = Annotated[Form, Depends(choose_form)]


async def require_json(request: Request) -> None:
    """Raises the 406 of a request that does not accept JSON."""
    _media_type(request, {JSON: _OFFERED[JSON]}, "a batch is only sent as")


def _media_type(request: Request, offered: Mapping[str, Parameters], told: str) -> str:
    accept = ", ".join(request.headers.getlist("accept"))
    if len(accept) > _LONGEST_ACCEPT:
        raise ServiceError(MALFORMED, f"Accept: more than {_LONGEST_ACCEPT} characters; send fewer")
    kind = preferred(accept, offered)
    if kind is None:
        raise ServiceError(NOT_ACCEPTABLE, f"Accept: {told} {' or '.join(offered)}", headers=VARY)
    return kind


def respond(
    service: Service,
    prediction: Prediction,
    form: Form,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    serialised: str | None = None,
) -> Response:
    """The answer in the form that the client wants; ``serialised`` is the whole prediction as JSON, where there is one.

    Raises the 409 of a prediction that another model made, whose codes and card are not at hand.
    """
    headers = VARY | dict(headers or {})
    if form.fhir is None:
        return Response(shown(service, prediction, form.view, serialised), status, headers, media_type=JSON)
    require_same_model(service, prediction)
    return Response(_fhir(service, prediction, form.view, form.fhir), status, headers, media_type=FHIR)


def _fhir(service: Service, prediction: Prediction, view: View, fhir: Fhir) -> str:
    manifest = service.network.bundle.manifest
    seen = show(prediction, manifest, view)
    bundle = transaction(seen, manifest.classes, fhir.card, subject=fhir.subject)
    return json.dumps(bundle, ensure_ascii=False, separators=(",", ":"))


def require_same_model(service: Service, prediction: Prediction) -> None:
    """Raises the 409 of a prediction that another model made: its figures are not this model's to convert."""
    if prediction.model.sha256 != service.network.bundle.sha256:
        raise ServiceError(CONFLICT, "another model made this prediction; send the picture again")
