"""Problems as they come over a bare socket."""

from __future__ import annotations

import json

from service.problems import MEDIA_TYPE
from tests.torture.sockets import statuses


def check_problem(answer: bytes, status: int, name: str) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert statuses(answer) == [status], answer
    assert f"content-type: {MEDIA_TYPE}".encode() in head
    assert b"connection: close" in head.lower()
    assert json.loads(body)["type"] == f"urn:cin:problem:{name}"
