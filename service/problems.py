"""Problem details (RFC 9457): the closed set of error types, their body, and the exception that carries one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, WithJsonSchema
from starlette.types import Receive, Scope, Send

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
NOT_ACCEPTABLE = ProblemType("not-acceptable", 406, "Not in an accepted media type")
REQUEST_TIMEOUT = ProblemType("request-timeout", 408, "The request did not arrive in time")
CONFLICT = ProblemType("conflict", 409, "The request does not fit an earlier one")
NO_LEDGER = ProblemType("no-ledger", 409, "This service keeps no ledger")
NO_JOBS = ProblemType("no-jobs", 409, "This service takes no jobs")
TOO_LARGE = ProblemType("too-large", 413, "The upload is too large")
UNSUPPORTED_TYPE = ProblemType("unsupported-type", 415, "Not an accepted image type")
UNDECODABLE = ProblemType("undecodable-picture", 422, "The image cannot be decoded")
JOBS_FULL = ProblemType("jobs-full", 429, "Too many jobs are kept")
QUEUE_FULL = ProblemType("queue-full", 429, "Too many images are waiting")
RATE_LIMITED = ProblemType("rate-limited", 429, "Too many requests from this caller")
HEAD_TOO_LARGE = ProblemType("head-too-large", 431, "The request's address and headers are too large")
INTERNAL = ProblemType("internal-error", 500, "The service failed")
PACS_AWAY = ProblemType("pacs-away", 502, "The DICOMweb server is away")
PACS_REFUSED = ProblemType("pacs-refused", 502, "The DICOMweb server refuses access")
PACS_FAILED = ProblemType("pacs-failed", 502, "The DICOMweb server did not give the image")
NOT_READY = ProblemType("not-ready", 503, "The service is not ready")
DEADLINE = ProblemType("deadline-exceeded", 504, "No answer in time")
INSUFFICIENT_STORAGE = ProblemType("insufficient-storage", 507, "There is no room to keep the prediction")

PROBLEM_TYPES = tuple(value for value in list(globals().values()) if isinstance(value, ProblemType))


ProblemUri = Annotated[str, WithJsonSchema({"type": "string", "enum": [problem.uri for problem in PROBLEM_TYPES]})]


class Problem(BaseModel):
    """Body of every error (RFC 9457)."""

    type: ProblemUri = Field(description="the kind of problem", examples=[TOO_LARGE.uri])
    title: str = Field(description="the kind in words", examples=[TOO_LARGE.title])
    status: int = Field(ge=400, le=599, description="the HTTP status", examples=[TOO_LARGE.status])
    detail: str = Field(
        description="what is wrong, and what to change",
        examples=["the image has 13000 x 13000 pixels, the limit is 40,000,000 in all"],
    )


class ServiceError(Exception):
    """An error with its problem type; ``detail`` goes to the client and says what to change."""

    def __init__(self, problem: ProblemType, detail: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.problem, self.detail, self.headers = problem, detail, headers

    def body(self) -> Problem:
        """The response body."""
        return Problem(type=self.problem.uri, title=self.problem.title, status=self.problem.status, detail=self.detail)


class _ProblemResponse(JSONResponse):
    """Puts the problem's name into the request's scope, for the middleware to count."""

    def __init__(self, problem: ProblemType, detail: str, headers: Mapping[str, str] | None) -> None:
        body = Problem(type=problem.uri, title=problem.title, status=problem.status, detail=detail)
        super().__init__(body.model_dump(), problem.status, headers, media_type=MEDIA_TYPE)
        self._name = problem.name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["problem"] = self._name
        await super().__call__(scope, receive, send)


def problem_response(problem: ProblemType, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The response for an error."""
    return _ProblemResponse(problem, detail, headers)


def _header(description: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string"}}


# Headers of errors, by status.
_HEADERS: Mapping[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": _header("`Bearer`")},
    409: {"Retry-After": _header("seconds until it may succeed, where it may")},
    429: {"Retry-After": _header("seconds until it may succeed")},
    503: {"Retry-After": _header("seconds until it may succeed")},
}


def documented(*problems: ProblemType) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route that may answer with these errors, for the OpenAPI schema."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    titles: dict[int | str, list[str]] = {}
    for problem in (*problems, INTERNAL):
        titles.setdefault(problem.status, []).append(problem.title)
    titles["default"] = ["Any other error"]
    answers: dict[int | str, dict[str, Any]] = {
        status: {"description": "; ".join(told), "content": content} for status, told in titles.items()
    }
    for status, headers in _HEADERS.items():
        if status in answers:
            answers[status]["headers"] = headers
    return answers
