"""Same-origin policy for a service without keys: a browser on this machine must not call it for another site's page."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.problems import FOREIGN_SITE, problem_response

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class SameOrigin:
    """Middleware that refuses requests from other sites' pages and, without ``any_name``, under other sites' names.

    Pages of ``origins`` are let through.

    A page may send forms to any address. And a site whose DNS name resolves to this machine (DNS rebinding) has the
    service's own origin, as far as the browser can tell.
    """

    def __init__(self, app: ASGIApp, *, any_name: bool, origins: Collection[str] = ()) -> None:
        self.app, self.any_name, self.origins = app, any_name, origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, or refuse it."""
        if scope["type"] == "http" and (detail := self._refused_because(scope["method"], Headers(scope=scope))):
            await problem_response(FOREIGN_SITE, detail)(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _refused_because(self, method: str, headers: Headers) -> str | None:
        if not self.any_name and not _is_ours(headers.get("host", "")):
            return "without keys the service has no name but localhost; ask for that, or set CIN_KEYS"
        if method not in _SAFE and headers.get("origin") not in self.origins and _comes_from_elsewhere(headers):
            return "pages of other sites may not do this; use the service's own page, or a program"
        return None


def _comes_from_elsewhere(headers: Headers) -> bool:
    """Whether the browser's headers name another site as the sender; programs send neither header."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        return site not in ("same-origin", "none")
    # Older browsers, and requests without TLS.
    return origin is not None and origin.partition("://")[2].lower() != headers.get("host", "").lower()


def _is_ours(host: str) -> bool:
    """Whether no site of the internet can have this name: it is an address, localhost, or a name without a dot."""
    try:
        name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return False
    if "." not in name and ":" not in name:
        return True
    try:
        ip_address(name)
    except ValueError:
        return name.endswith(".localhost")
    return True
