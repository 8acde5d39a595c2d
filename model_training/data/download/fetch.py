"""Downloads one file over HTTP, and resumes when the connection drops.

A download is written to ``NAME.part`` next to its target, with the server's version of the file in ``NAME.part.json``,
so that a later call resumes it and never joins two versions. pooch, the usual library for this, cannot resume.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import httpx

from model_training.data.download.unzip import DownloadError, Progress, check_space
from model_training.files import write_text

# Consecutive attempts without progress; progress resets the count, so that slow connections succeed.
MAX_TRIES = 6
LONGEST_PAUSE_S = 60.0
PASSING_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


class _TryAgainError(Exception):
    """This attempt failed for a reason that may be temporary."""


def fetch(
    client: httpx.Client,
    url: str,
    target: Path,
    *,
    progress: Progress = lambda done, total: None,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Download ``url`` to ``target``; resumes an earlier part of the same version of the file.

    Dropped connections, transient server errors and wrong lengths are retried with growing pauses. ``progress`` gets
    the bytes done and the total. Raises :class:`DownloadError` when retries fail, or at once when the server refuses or
    the disk is too small; the received part is kept.
    """
    part = target.with_name(f"{target.name}.part")
    furthest, failures = _size(part), 0
    while True:
        try:
            _receive(client, url, part, progress)
            break
        except (httpx.TransportError, _TryAgainError) as error:
            # Only new progress counts: a server that always starts over and drops must not be retried forever.
            failures = 1 if _size(part) > furthest else failures + 1
            furthest = max(furthest, _size(part))
            if failures >= MAX_TRIES:
                raise DownloadError(
                    f"{url}: {error or type(error).__name__}; {MAX_TRIES} attempts in a row made no progress. "
                    f"{_size(part):,} bytes are kept: run the same command again to resume"
                ) from error
            pause(min(2.0 ** (failures - 1), LONGEST_PAUSE_S))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise DownloadError(f"{url}: {error}; check the address") from error
    part.replace(target)
    _version_file(part).unlink(missing_ok=True)


def _receive(client: httpx.Client, url: str, part: Path, progress: Progress) -> None:
    """One attempt: request the missing bytes and append them to the part."""
    version = _read_version(part, url)
    offset = _size(part) if version else 0
    headers = {"Accept-Encoding": "identity"}
    if version and offset:
        headers |= {"Range": f"bytes={offset}-", "If-Range": version}
    with client.stream("GET", url, headers=headers) as response:
        if response.status_code == 416 and offset:
            if response.headers.get("Content-Range") == f"bytes */{offset}":
                return  # the last attempt ended after the last byte
            _start_over(part, "the server's file is shorter than the part that is here")
        _check_status(response, url)
        if response.status_code == 206:
            total = _resumed_total(response, part, offset, version)
        else:
            offset, total = 0, _length(response, url)
            _write_version(part, url, response)
        check_space(part.parent, total - offset, f"downloading {url}")
        progress(offset, total)
        with part.open("ab" if offset else "wb") as out:
            # Chunks are written as they arrive: a buffer would be lost when the connection drops.
            for chunk in response.iter_raw():
                out.write(chunk)
                offset += len(chunk)
                progress(offset, total)
            out.flush()
            os.fsync(out.fileno())
    if offset > total:
        _start_over(part, f"{offset:,} bytes came, {total:,} were announced")
    if offset < total:
        raise _TryAgainError(f"the connection ended after {offset:,} of {total:,} bytes")


def _check_status(response: httpx.Response, url: str) -> None:
    status = f"{response.status_code} {response.reason_phrase}".strip()
    if response.status_code in PASSING_STATUS:
        raise _TryAgainError(f"the server answered {status}")
    if response.status_code not in (200, 206):
        raise DownloadError(
            f"{url} answered {status}; if the file has moved, name its new place with --base-url, or put it into the "
            "data folder by hand"
        )
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise DownloadError(f"{url} came compressed on the way; go round the proxy that does so, or use --base-url")


def _length(response: httpx.Response, url: str) -> int:
    length = response.headers.get("Content-Length", "")
    if not length.isdecimal():
        raise DownloadError(f"{url}: the server does not say how long the file is; choose another with --base-url")
    return int(length)


def _resumed_total(response: httpx.Response, part: Path, offset: int, version: str | None) -> int:
    """The file's length by a partial response; starts over unless the response continues this part."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
    # Some servers honour Range but not If-Range.
    if found is None or int(found[1]) != offset or _version(response) != version:
        _start_over(part, "the server's file has changed, or it did not send the range that was asked for")
    return int(found[2])


def _start_over(part: Path, why: str) -> NoReturn:
    part.unlink(missing_ok=True)
    _version_file(part).unlink(missing_ok=True)
    raise _TryAgainError(why)


def _version(response: httpx.Response) -> str | None:
    """The version of the file: a strong ETag, else the time of the last change."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified")


def _version_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _write_version(part: Path, url: str, response: httpx.Response) -> None:
    # The old part is removed first, so that it never exists together with the new version.
    part.unlink(missing_ok=True)
    write_text(_version_file(part), json.dumps({"url": url, "version": _version(response)}) + "\n")


def _read_version(part: Path, url: str) -> str | None:
    try:
        state = json.loads(_version_file(part).read_text(encoding="utf-8"))
        return state["version"] if state["url"] == url else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # without it the part is of no use


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
