"""``GET /``: the page for people, and what it is made of."""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, Request, Response

from service.api.dependencies import is_known
from service.problems import NOT_FOUND, ServiceError

WEB = Path(__file__).parents[2] / "web"
_INDEX = "index.html"
_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
}
# Explanations, which have lines of their own, and types: no browser needs them.
_BLOCK = r"/\*(?:(?!\*/).)*\*/"
_COMMENT = re.compile(rf"^[ \t]*{_BLOCK}[ \t]*\n|(?=/\*\* @){_BLOCK} ?", re.MULTILINE | re.DOTALL)
# Nothing from elsewhere, nothing inline; images come from memory (blob:), and no text ever becomes markup.
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)


@dataclass(frozen=True)
class Asset:
    """A file of the page, ready to be sent."""

    content: bytes
    media_type: str
    etag: str
    compressed: bytes | None = None  # gzip, where that is smaller


def read_assets(folder: Path = WEB) -> dict[str, Asset]:
    """Every file of the page by its path below ``folder``; other files are not served."""
    files = [path for path in sorted(folder.rglob("*")) if path.suffix in _MEDIA_TYPES]
    return {path.relative_to(folder).as_posix(): _asset(path) for path in files}


def page_router(assets: Mapping[str, Asset]) -> APIRouter:
    """The page at ``/``, its files below ``/web/``: a closed set, so that no path leads anywhere else."""
    router = APIRouter(include_in_schema=False)

    @router.api_route("/", methods=["GET", "HEAD"])
    async def index(request: Request) -> Response:
        return _answer(request, assets[_INDEX])

    @router.api_route("/web/{name:path}", methods=["GET", "HEAD"])
    async def asset(request: Request, name: str) -> Response:
        if name not in assets:
            raise ServiceError(NOT_FOUND, "the page has no such file; it starts at /")
        return _answer(request, assets[name])

    return router


def _asset(path: Path) -> Asset:
    content = path.read_bytes()
    if path.suffix in (".js", ".css"):
        content = _COMMENT.sub("", content.decode()).encode()
    compressed = gzip.compress(content, mtime=0) if path.suffix != ".jpg" else None
    return Asset(content, _MEDIA_TYPES[path.suffix], f'"{hashlib.sha256(content).hexdigest()[:32]}"', compressed)


def _answer(request: Request, asset: Asset) -> Response:
    # Asked for again each time, so that the parts of a page always belong together after an upgrade.
    headers = {"ETag": asset.etag, "Cache-Control": "no-cache", "Content-Security-Policy": _POLICY}
    content = asset.content
    if asset.compressed is not None:
        headers["Vary"] = "Accept-Encoding"
        # By this word alone: a client that weighs encodings against each other gets the plain file.
        if "gzip" in (each.strip() for each in request.headers.get("accept-encoding", "").lower().split(",")):
            content = asset.compressed
            headers |= {"Content-Encoding": "gzip", "ETag": f'{asset.etag[:-1]}-gzip"'}
    if is_known(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=asset.media_type, headers=headers)
