"""Errors as problem+json (RFC 9457): a closed set of types, made in this one place."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from service.audit.file import AuditError
from service.imaging import (
    EmptyPicture,
    PictureError,
    PictureTooLarge,
    UndecodablePicture,
    UnsupportedPicture,
)
from service.storage.store import RecordsError, RecordsFull

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True)
class ProblemType:
    """One kind of error; its name is the last part of the type's URI."""

    name: str
    status: int
    title: str

    @property
    def uri(self) -> str:
        """The type as RFC 9457 wants it."""
        return f"urn:cin:problem:{self.name}"


MALFORMED = ProblemType("malformed-request", 400, "The request is malformed")
UNAUTHORIZED = ProblemType("unauthorized", 401, "An API key is needed")
FOREIGN_SITE = ProblemType("foreign-site", 403, "Not for pages of other sites")
NOT_FOUND = ProblemType("not-found", 404, "Not found")
METHOD_NOT_ALLOWED = ProblemType("method-not-allowed", 405, "Method not allowed")
REQUEST_TIMEOUT = ProblemType("request-timeout", 408, "The request did not arrive in time")
TOO_LARGE = ProblemType("too-large", 413, "The picture is too large")
UNSUPPORTED_TYPE = ProblemType("unsupported-type", 415, "Not an accepted picture type")
UNDECODABLE = ProblemType("undecodable-picture", 422, "The picture cannot be decoded")
QUEUE_FULL = ProblemType("queue-full", 429, "Too many pictures are waiting")
RATE_LIMITED = ProblemType("rate-limited", 429, "Too many requests from this caller")
HEAD_TOO_LARGE = ProblemType("head-too-large", 431, "The request's address and headers are too large")
INTERNAL = ProblemType("internal-error", 500, "The service failed")
NOT_READY = ProblemType("not-ready", 503, "The service is not ready")
DEADLINE = ProblemType("deadline-exceeded", 504, "No answer in time")
INSUFFICIENT_STORAGE = ProblemType("insufficient-storage", 507, "There is no room to keep the prediction")

PROBLEM_TYPES = (
    MALFORMED,
    UNAUTHORIZED,
    FOREIGN_SITE,
    NOT_FOUND,
    METHOD_NOT_ALLOWED,
    REQUEST_TIMEOUT,
    TOO_LARGE,
    UNSUPPORTED_TYPE,
    UNDECODABLE,
    QUEUE_FULL,
    RATE_LIMITED,
    HEAD_TOO_LARGE,
    INTERNAL,
    NOT_READY,
    DEADLINE,
    INSUFFICIENT_STORAGE,
)
# Errors of the framework, which have a status alone.
_BY_STATUS = {problem.status: problem for problem in PROBLEM_TYPES if problem is not RATE_LIMITED}
_BY_PICTURE_ERROR = {
    EmptyPicture: MALFORMED,
    PictureTooLarge: TOO_LARGE,
    UnsupportedPicture: UNSUPPORTED_TYPE,
    UndecodablePicture: UNDECODABLE,
}


class Problem(BaseModel):
    """Body of every error (RFC 9457)."""

    type: str = Field(examples=[TOO_LARGE.uri])
    title: str = Field(examples=[TOO_LARGE.title])
    status: int = Field(examples=[TOO_LARGE.status])
    detail: str = Field(examples=["the picture has 13000 x 13000 pixels, the limit is 40,000,000 in all"])


class ServiceError(Exception):
    """An error with its problem type; ``detail`` goes to the client and says what to change."""

    def __init__(self, problem: ProblemType, detail: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.problem, self.detail, self.headers = problem, detail, headers

    def body(self) -> Problem:
        """What the client is told."""
        return Problem(type=self.problem.uri, title=self.problem.title, status=self.problem.status, detail=self.detail)


def picture_problem(error: PictureError) -> ServiceError:
    """The service's error for a picture that :mod:`service.imaging` refused."""
    return ServiceError(_BY_PICTURE_ERROR[type(error)], str(error))


def audit_failed() -> ServiceError:
    """The error while what happens cannot be written down; the log's own words are in the service's log."""
    detail = "the audit log cannot be written, and nothing is answered without it; try again later"
    return ServiceError(NOT_READY, detail, headers={"Retry-After": "5"})


class _ProblemResponse(JSONResponse):
    """An error as it is sent; what kind it is stays in the request's scope, to be counted."""

    def __init__(self, problem: ProblemType, detail: str, headers: Mapping[str, str] | None) -> None:
        body = Problem(type=problem.uri, title=problem.title, status=problem.status, detail=detail)
        super().__init__(body.model_dump(), problem.status, headers, media_type=MEDIA_TYPE)
        self._name = problem.name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["problem"] = self._name
        await super().__call__(scope, receive, send)


def records_problem(error: RecordsError) -> ServiceError:
    """The service's error for records that cannot be kept or reached."""
    if isinstance(error, RecordsFull):
        return ServiceError(INSUFFICIENT_STORAGE, "the prediction could not be kept, there is no room; try again later")
    return ServiceError(
        NOT_READY, "predictions could not be kept or reached; try again later", headers={"Retry-After": "5"}
    )


def problem_response(problem: ProblemType, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The response for an error."""
    return _ProblemResponse(problem, detail, headers)


def documented(*problems: ProblemType) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route that may answer with these errors, for the OpenAPI schema."""
    content = {MEDIA_TYPE: {"schema": Problem.model_json_schema()}}
    titles: dict[int | str, list[str]] = {}
    for problem in (*problems, INTERNAL):
        titles.setdefault(problem.status, []).append(problem.title)
    titles["default"] = ["Any other error"]
    return {status: {"description": "; ".join(told), "content": content} for status, told in titles.items()}


def _allowed(request: Request) -> str:
    """Every method that the address takes; the exception knows those of one route."""
    template = getattr(request.scope.get("route"), "path", "")
    return ", ".join(sorted(method.upper() for method in request.app.openapi()["paths"].get(template, ())))


def install_error_handlers(app: FastAPI) -> None:
    """Turn the exceptions that leave a route into problem+json; nothing of what was sent is repeated."""

    async def on_service_error(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ServiceError)
        return problem_response(error.problem, error.detail, error.headers)

    async def on_records_error(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RecordsError)
        log.error("%s", error)
        problem = records_problem(error)
        return problem_response(problem.problem, problem.detail, problem.headers)

    async def on_audit_error(_: Request, __: Exception) -> JSONResponse:
        error = audit_failed()
        return problem_response(error.problem, error.detail, error.headers)

    async def on_invalid_request(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        names = sorted({str(e["loc"][-1]) for e in error.errors()})
        return problem_response(MALFORMED, f"not an accepted value: {', '.join(names)}; see /docs for what is")

    async def on_http_exception(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        problem = _BY_STATUS.get(error.status_code, MALFORMED)
        detail = {
            NOT_FOUND: "there is nothing at this address; see /docs",
            METHOD_NOT_ALLOWED: "this address does not take that method; see /docs",
        }.get(problem, "the request could not be understood; see /docs")
        headers = (
            {"Allow": allowed} if problem is METHOD_NOT_ALLOWED and (allowed := _allowed(request)) else error.headers
        )
        return problem_response(problem, detail, headers)

    app.add_exception_handler(ServiceError, on_service_error)
    app.add_exception_handler(RecordsError, on_records_error)
    app.add_exception_handler(AuditError, on_audit_error)
    app.add_exception_handler(RequestValidationError, on_invalid_request)
    app.add_exception_handler(HTTPException, on_http_exception)
