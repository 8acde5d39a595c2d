"""Which problem stands for which exception."""

from __future__ import annotations

import pytest

from service.admission.admission import Busy
from service.admission.rate_limit import TooMany
from service.api.error_handlers import EXPECTED, outcome_of, problem_of
from service.audit.file import AuditWriteError
from service.imaging import CostlyPicture, EmptyPicture, PictureTooLarge, UndecodablePicture, UnsupportedPicture
from service.imaging.fork_server import DecoderError
from service.inference.answers import DeviceError, EngineError, OutOfMemory
from service.inference.batching import Stopped
from service.problems import MALFORMED, ServiceError
from service.storage.store import RecordsError, RecordsFull

SECRET = "/var/lib/patient"


@pytest.mark.parametrize(
    ("error", "name", "retry_after"),
    [
        (ServiceError(MALFORMED, "x"), "malformed-request", None),
        (EmptyPicture("x"), "malformed-request", None),
        (PictureTooLarge("x"), "too-large", None),
        (UnsupportedPicture("x"), "unsupported-type", None),
        (UndecodablePicture("x"), "undecodable-picture", None),
        (CostlyPicture(), "undecodable-picture", None),
        (DecoderError(SECRET), "not-ready", "5"),
        (MemoryError(SECRET), "not-ready", "5"),
        (Busy(), "queue-full", "1"),
        (TooMany("requests", 2.5), "rate-limited", "3"),
        (TooMany("requests", 0.1), "rate-limited", "1"),
        (Stopped(), "not-ready", "5"),
        (OutOfMemory(SECRET), "not-ready", "5"),
        (DeviceError("the device failed", SECRET), "not-ready", "5"),
        (EngineError(SECRET), "internal-error", None),
        (RecordsFull(SECRET), "insufficient-storage", None),
        (RecordsError(SECRET), "not-ready", "5"),
        (AuditWriteError(SECRET), "not-ready", "5"),
        (ZeroDivisionError(SECRET), "internal-error", None),
    ],
)
def test_problems(error: Exception, name: str, retry_after: str | None) -> None:
    problem = problem_of(error)
    assert problem.problem.name == outcome_of(error) == name
    assert (problem.headers or {}).get("Retry-After") == retry_after
    assert SECRET not in problem.detail
    assert isinstance(error, EXPECTED) == (not isinstance(error, ZeroDivisionError))
