"""Who calls, and how much of the service they may take."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from service.access.keys import ANYONE, AccessError, Caller, LiveKeys
from service.admission.rate_limit import TooMany, address_group
from service.api.dependencies import ServiceDep
from service.problems import FOREIGN_SITE, NOT_READY, RATE_LIMITED, UNAUTHORIZED, ServiceError
from service.runtime import Service

# What whoever is not admitted is told.
ADMITTED = (UNAUTHORIZED, FOREIGN_SITE, RATE_LIMITED, NOT_READY)

_bearer = HTTPBearer(auto_error=False, description="An API key, cin_..., where the service asks for one.")


async def admit(
    request: Request,
    service: ServiceDep,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
) -> Caller:
    """Who calls. Raises the 401 of a request without a valid key, where keys are asked for, and the 429 of too many."""
    address = f"address {address_group(request.client.host if request.client else '')}"
    if service.keys is None:
        caller: Caller | None = Caller(ANYONE, counted_as=address)
    else:
        client = None if credentials is None else _client_of(service.keys, credentials.credentials)
        caller = None if client is None else Caller(client, counted_as=client)
    try:
        service.caller_limits.take(address if caller is None else caller.counted_as)
    except TooMany as error:
        raise _rate_limited("requests", error) from None
    if caller is None:
        service.refused["without_key" if credentials is None else "with_unknown_key"] += 1
        detail = "no valid API key came with the request; send Authorization: Bearer cin_..."
        raise ServiceError(UNAUTHORIZED, detail, headers={"WWW-Authenticate": "Bearer"})
    return caller


CallerDep = Annotated[Caller, Depends(admit)]


def _client_of(keys: LiveKeys, key: str) -> str | None:
    try:
        return keys.client_of(key)
    except AccessError:  # it was logged
        detail = "which keys are valid cannot be told now; try again later"
        raise ServiceError(NOT_READY, detail, headers={"Retry-After": "5"}) from None


@contextmanager
def share(service: Service, caller: Caller, num: int = 1) -> Iterator[Callable[[int], None]]:
    """Take ``num`` pictures out of the caller's share; yields a function that keeps fewer.

    Raises the 429 of a caller with too many pictures under way.
    """
    try:
        with service.caller_limits.places(caller.counted_as, num) as keep:
            yield keep
    except TooMany as error:
        raise _rate_limited("pictures at once", error) from None


def _rate_limited(what: str, error: TooMany) -> ServiceError:
    seconds = max(1, math.ceil(error.seconds))
    detail = f"too many {what} from this caller; try again in {seconds} s"
    return ServiceError(RATE_LIMITED, detail, headers={"Retry-After": str(seconds)})
