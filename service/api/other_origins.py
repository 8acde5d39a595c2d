"""CORS for the origins in ``CIN_CORS_ORIGINS``."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from service.problems import FOREIGN_SITE, problem_response


class OtherOrigins(CORSMiddleware):
    """Starlette's, with a problem where it refuses a browser's question."""

    def preflight_response(self, request_headers: Headers) -> Response:
        """See :class:`CORSMiddleware`."""
        response = super().preflight_response(request_headers)
        if response.status_code < 400:
            return response
        kept = {
            name: response.headers[name] for name in ("vary", "access-control-allow-origin") if name in response.headers
        }
        return problem_response(FOREIGN_SITE, "this page may not send such a request; see CIN_CORS_ORIGINS", kept)
