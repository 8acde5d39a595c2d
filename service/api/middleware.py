"""Around every request: metrics, security headers, and a problem response for unexpected errors."""

from __future__ import annotations

import logging
import re
import secrets
import traceback
from time import perf_counter

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.metrics import Metrics
from service.problems import INTERNAL, problem_response

log = logging.getLogger(__name__)

_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Observability:
    """Pure ASGI: Starlette's base middleware runs the request in a task of its own, which hides a disconnect."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status: int | None = None
        began = perf_counter()
        scope["request_id"] = id = _request_id(Headers(scope=scope))

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                present = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(h for h in _HEADERS if h[0] not in present),
                    (b"x-request-id", id.encode()),
                ]
            await send(message)

        self.metrics.in_flight.inc()
        try:
            await self.app(scope, receive, send_with_headers)
        except Exception as error:
            # The frames only: the error's message may quote the request.
            frames = "".join(traceback.format_tb(error.__traceback__))
            log.error("request %s: unexpected %s\n%s", id, type(error).__name__, frames)
            if status is not None:  # another response can no longer be sent
                raise RuntimeError("an answer broke off; the log says above where") from None
            response = problem_response(INTERNAL, "an unexpected error; it was logged")
            await response(scope, receive, send_with_headers)
        finally:
            self.metrics.in_flight.dec()
            self._record(scope, status or 500, perf_counter() - began)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        # The route's template and not the path: ids must become neither series nor log lines.
        route = getattr(scope.get("route"), "path", "unmatched")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self.metrics.requests.labels(route, method, str(status)).inc()
        self.metrics.latency.labels(route).observe(seconds)
        if "problem" in scope:
            self.metrics.rejected.labels(scope["problem"]).inc()
        log.debug("request %s: %s %s %d in %.0f ms", scope["request_id"], method, route, status, seconds * 1e3)


def _request_id(headers: Headers) -> str:
    """The client's ``X-Request-ID`` where it is one that can stand in a log, else a new one."""
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
