"""From exceptions to problem details: the only place that knows which error a client gets."""

from __future__ import annotations

import logging
import math

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from service.admission.admission import Busy
from service.admission.rate_limit import TooMany
from service.audit.file import AuditError
from service.imaging import (
    CostlyPicture,
    EmptyPicture,
    PictureError,
    PictureTooLarge,
    UndecodablePicture,
    UnsupportedPicture,
)
from service.imaging.fork_server import DecoderError
from service.inference.answers import DeviceError, EngineError, OutOfMemory
from service.inference.batching import Stopped
from service.jobs.job import JobsError, JobsFull
from service.ledger.file import LedgerError, LedgerFull
from service.prediction.predictor import FAILURES
from service.problems import (
    CONFLICT,
    INSUFFICIENT_STORAGE,
    INTERNAL,
    JOBS_FULL,
    MALFORMED,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    NOT_READY,
    PROBLEM_TYPES,
    QUEUE_FULL,
    RATE_LIMITED,
    TOO_LARGE,
    UNDECODABLE,
    UNSUPPORTED_TYPE,
    ServiceError,
    problem_response,
)
from service.storage.store import DamagedRecord, RecordExists, RecordsError, RecordsFull

log = logging.getLogger(__name__)

# Exceptions that mean something to the client; every other one is a bug.
EXPECTED = (*FAILURES, TooMany, JobsError)

# The framework's errors, which have only a status.
_BY_STATUS = {problem.status: problem for problem in PROBLEM_TYPES if problem is not RATE_LIMITED}
_BY_PICTURE_ERROR = {
    EmptyPicture: MALFORMED,
    PictureTooLarge: TOO_LARGE,
    UnsupportedPicture: UNSUPPORTED_TYPE,
    UndecodablePicture: UNDECODABLE,
    CostlyPicture: UNDECODABLE,
}
_LATER = {"Retry-After": "5"}


def problem_of(error: BaseException) -> ServiceError:
    """The problem that stands for ``error``. Its detail never repeats what was sent, nor paths of this machine."""
    match error:
        case ServiceError():
            return error
        case PictureError():
            return ServiceError(_BY_PICTURE_ERROR[type(error)], str(error))
        case DecoderError():
            detail = "the service has no memory to decode this image just now; try again shortly"
            return ServiceError(NOT_READY, detail, headers=_LATER)
        case MemoryError():
            return ServiceError(NOT_READY, "the service has no memory for this just now", headers=_LATER)
        case Busy():
            detail = "server busy: too many requests in flight; try again shortly"
            return ServiceError(QUEUE_FULL, detail, headers={"Retry-After": "1"})
        case TooMany():
            seconds = max(1, math.ceil(error.seconds))
            detail = f"too many {error.what} from this caller; try again in {seconds} s"
            return ServiceError(RATE_LIMITED, detail, headers={"Retry-After": str(seconds)})
        case Stopped():
            return ServiceError(NOT_READY, "the service is shutting down; try again", headers=_LATER)
        case OutOfMemory():
            detail = "the device has no memory for this image just now; try again shortly"
            return ServiceError(NOT_READY, detail, headers=_LATER)
        case DeviceError():
            return ServiceError(NOT_READY, f"not ready: {error.reason}; try again later", headers=_LATER)
        case EngineError():
            return ServiceError(INTERNAL, "the network failed on this image; it was logged")
        case RecordsFull():
            detail = "the prediction could not be kept, there is no room; try again later"
            return ServiceError(INSUFFICIENT_STORAGE, detail)
        case DamagedRecord():
            return ServiceError(NOT_FOUND, "the kept prediction is damaged; send the image again")
        case RecordExists():
            detail = "another request with this Idempotency-Key was faster; send it again"
            return ServiceError(CONFLICT, detail, headers={"Retry-After": "1"})
        case RecordsError():
            detail = "predictions could not be kept or reached; try again later"
            return ServiceError(NOT_READY, detail, headers=_LATER)
        case JobsFull():
            return ServiceError(JOBS_FULL, f"{error}; delete one, or try again later", headers={"Retry-After": "60"})
        case JobsError():
            detail = "jobs cannot be kept or reached; try again later"
            return ServiceError(NOT_READY, detail, headers=_LATER)
        case LedgerFull():
            detail = "the ledger has no room, and nothing is answered that it could not keep; try again later"
            return ServiceError(INSUFFICIENT_STORAGE, detail)
        case LedgerError():
            detail = "the ledger cannot be used, and nothing is answered that it could not keep; try again later"
            return ServiceError(NOT_READY, detail, headers=_LATER)
        case AuditError():
            detail = "the audit log cannot be written, and nothing is answered without it; try again later"
            return ServiceError(NOT_READY, detail, headers=_LATER)
        case _:
            return ServiceError(INTERNAL, "an unexpected error; it was logged")


def outcome_of(error: BaseException) -> str:
    """What the audit log says of an image that got this error: the problem's name."""
    return problem_of(error).problem.name


def install_error_handlers(app: FastAPI) -> None:
    """Turn the exceptions that leave a route into problem details."""

    async def on_expected(_: Request, error: Exception) -> JSONResponse:
        if isinstance(error, MemoryError):
            log.error("memory ran out")
        problem = problem_of(error)
        return problem_response(problem.problem, problem.detail, problem.headers)

    async def on_invalid_request(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        # The messages say what is accepted, and do not repeat what was sent.
        wrong = dict.fromkeys(f"{e['loc'][-1]}: {_lower(e['msg'])}" for e in error.errors())
        return problem_response(MALFORMED, f"not an accepted value: {'; '.join(wrong)}. See /docs")

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

    for expected in EXPECTED:
        app.add_exception_handler(expected, on_expected)
    app.add_exception_handler(RequestValidationError, on_invalid_request)
    app.add_exception_handler(HTTPException, on_http_exception)


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _allowed(request: Request) -> str:
    """Every method that the address takes; the exception knows those of one route."""
    template = getattr(request.scope.get("route"), "path", "")
    return ", ".join(sorted(method.upper() for method in request.app.openapi()["paths"].get(template, ())))
