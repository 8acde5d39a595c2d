"""A PACS by its DICOMweb services (PS3.18): search for instances, retrieve one, store results.

What it answers is not trusted. Every answer has a size and a time that it may take; nothing is expanded, redirects are
not followed, addresses in answers are not used, and no text of an answer gets into a message.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

import httpx

from service.pacs.multipart import RELATED, MultipartError, joined, only_part

_JSON = "application/dicom+json"
# An instance takes about 1.5 kB in a list.
_PAGE = 100
_LIST_BYTES = 4 * 2**20
_MULTIPART_BYTES = 2**16  # around a file

OTHER_INSTANCE = "the PACS gave the file of another instance"

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_STUDY, _SERIES, _INSTANCE, _CLASS, _FRAMES = "0020000D", "0020000E", "00080018", "00080016", "00280008"
_FAILED = "00081198"
# Proxies answer with these for a PACS that is away or overloaded.
_AWAY = (429, 502, 503, 504)


class PacsError(Exception):
    """One exchange failed; the text says why and holds nothing that the PACS sent."""


class PacsAway(PacsError):  # noqa: N818 - named for what it means
    """The PACS cannot be reached at present: no other exchange would succeed."""


class PacsRefused(PacsError):  # noqa: N818 - named for what happened
    """The PACS or its certificate is not as configured; the text says what to change."""


class PacsTooLarge(PacsError):  # noqa: N818 - named for what was asked for
    """The PACS answers with more bytes than the answer may have."""


class Instance(NamedTuple):
    """An instance in a PACS by its identifiers, and what a list says of it."""

    study: str
    series: str
    uid: str
    sop_class: str
    num_frames: int


class _Answer(NamedTuple):
    status: int
    content_type: str
    body: bytes


class Pacs:
    """A client; an asynchronous context."""

    def __init__(
        self,
        url: str,
        credentials: tuple[str, str] | None = None,
        *,
        max_file_bytes: int,
        timeout_seconds: float,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """``url`` is the root of DICOMweb, ``credentials`` are user and password; every exchange may take
        ``timeout_seconds``. Certificates are checked against the system's, or those that SSL_CERT_FILE names.

        Raises :class:`PacsRefused` for an address that cannot be one.
        """
        self._max_file_bytes, self._seconds = max_file_bytes, timeout_seconds
        self._http = httpx.AsyncClient(
            base_url=_checked(url),
            auth=credentials,
            headers={"Accept-Encoding": "identity", "User-Agent": "cin"},
            timeout=timeout_seconds,
            # A PACS may close an idle connection (Orthanc: after a second) while a request is on its way.
            limits=httpx.Limits(max_keepalive_connections=0),
            verify=ssl.create_default_context(),
            # Neither another proxy nor passwords of a .netrc.
            trust_env=False,
            follow_redirects=False,
            transport=transport,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def search(self, matching: Mapping[str, str]) -> AsyncIterator[list[Instance]]:
        """The instances that match, in the words of QIDO-RS such as ``{"Modality": "DMS"}``; page by page, each once.

        Instances without valid identifiers are left out. Raises :class:`PacsError`.
        """
        seen: set[str] = set()
        offset = 0
        while True:
            items = await self._list("/instances", {**matching, "limit": _PAGE, "offset": offset})
            page = {found.uid: found for item in items if (found := _instance(item)) is not None}
            new = [found for uid, found in page.items() if uid not in seen]
            # A PACS may give fewer than asked for, and one that ignores the offset gives the same again.
            if not new:
                return
            yield new
            seen.update(page)
            offset += len(items)

    async def present(self, study: str, uids: Sequence[str]) -> set[str]:
        """Those of the instances that the study has. Raises :class:`PacsError`."""
        items = await self._list(f"/studies/{study}/instances", {"SOPInstanceUID": ",".join(uids)})
        return {found.uid for item in items if (found := _instance(item)) is not None}.intersection(uids)

    async def retrieve(self, instance: Instance) -> bytes:
        """The DICOM file of an instance, in the transfer syntax in which it is stored. Raises :class:`PacsError`."""
        path = f"/studies/{instance.study}/series/{instance.series}/instances/{instance.uid}"
        answer = await self._exchange(
            "GET",
            path,
            max_bytes=self._max_file_bytes + _MULTIPART_BYTES,
            headers={"Accept": f"{RELATED}; transfer-syntax=*"},
        )
        try:
            return only_part(answer.content_type, answer.body)
        except MultipartError as error:
            raise PacsError(str(error)) from error

    async def store(self, study: str, files: Sequence[bytes]) -> None:
        """Store DICOM files in their study. Raises :class:`PacsError` unless all of them were taken."""
        content_type, body = joined(files)
        headers = {"Accept": _JSON, "Content-Type": content_type}
        answer = await self._exchange("POST", f"/studies/{study}", headers=headers, content=body)
        stored = _parsed(answer.body) if answer.body else {}
        if not isinstance(stored, dict):
            raise PacsError("the PACS does not say what it stored")
        failed = stored.get(_FAILED)
        if answer.status == 202 or (isinstance(failed, dict) and failed.get("Value")):
            raise PacsError("the PACS did not take all results")

    async def _list(self, path: str, params: Mapping[str, str | int]) -> list[Any]:
        answer = await self._exchange("GET", path, params=params, headers={"Accept": _JSON})
        if answer.status == 204:
            return []
        items = _parsed(answer.body)
        if not isinstance(items, list):
            raise PacsError("the PACS answers a search with something else than a list")
        return items

    async def _exchange(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        params: Mapping[str, str | int] | None = None,
        content: bytes | None = None,
        max_bytes: int = _LIST_BYTES,
    ) -> _Answer:
        try:
            async with (
                asyncio.timeout(self._seconds),
                self._http.stream(method, path, params=params, headers=headers, content=content) as response,
            ):
                _check(response)
                body = bytearray()
                # As it was sent: a few kilobytes could expand to gigabytes.
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) > max_bytes:
                        raise PacsTooLarge(f"the PACS answers with more than {max_bytes:,} bytes")
                return _Answer(response.status_code, response.headers.get("Content-Type", ""), bytes(body))
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            if _is_untrusted(error):
                raise PacsRefused(
                    "the PACS has a certificate that is not trusted; name its issuer's with SSL_CERT_FILE"
                ) from error
            raise PacsAway("the PACS cannot be reached") from error
        except (TimeoutError, httpx.TimeoutException) as error:
            raise PacsError(f"the PACS did not answer within {self._seconds:g} s") from error
        except httpx.HTTPError as error:
            raise PacsError(f"the connection to the PACS failed ({type(error).__name__})") from error


def _checked(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        parsed = httpx.URL()
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.query or parsed.fragment:
        raise PacsRefused("the address is none of DICOMweb, such as https://pacs.example.org/dicom-web")
    if parsed.userinfo:
        raise PacsRefused(
            "the address holds a user or password; set CIN_DICOMWEB_USER and CIN_DICOMWEB_PASSWORD_FILE, or user and "
            "password_file in CIN_DICOMWEB_SERVERS"
        )
    return parsed


def _check(response: httpx.Response) -> None:
    status = response.status_code
    if status in (401, 403):
        raise PacsRefused(
            f"the PACS refuses access ({status}); check CIN_DICOMWEB_USER and its password, or those in "
            "CIN_DICOMWEB_SERVERS"
        )
    if status in _AWAY:
        raise PacsAway(f"the PACS is not available ({status})")
    if 300 <= status < 400:
        raise PacsError(f"the PACS redirects ({status}), which is not followed; give the address that it redirects to")
    if not 200 <= status < 300:
        raise PacsError(f"the PACS answers {status}")
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise PacsError("the PACS compresses its answer, which was not asked for")


def _is_untrusted(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise PacsError("the PACS answers with something else than DICOM JSON") from error


def _instance(item: Any) -> Instance | None:
    """None for what has no valid identifiers: they get into addresses and logs."""
    study, series, uid, sop_class = (_uid(item, tag) for tag in (_STUDY, _SERIES, _INSTANCE, _CLASS))
    if study is None or series is None or uid is None:
        return None
    frames = _first(item, _FRAMES)
    num_frames = int(frames) if isinstance(frames, int | str) and re.fullmatch(r"[0-9]{1,9}", str(frames)) else 1
    return Instance(study, series, uid, sop_class or "", num_frames)


def _uid(item: Any, tag: str) -> str | None:
    value = _first(item, tag)
    return value if isinstance(value, str) and len(value) <= 64 and _UID.fullmatch(value) else None


def _first(item: Any, tag: str) -> Any:
    element = item.get(tag) if isinstance(item, dict) else None
    values = element.get("Value") if isinstance(element, dict) else None
    return values[0] if isinstance(values, list) and values else None
