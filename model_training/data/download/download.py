"""Downloads the official files from their official addresses, checks and unpacks them.

``SHA256SUMS`` records each file's digest at its first download, for later comparison; ``sha256sum --check`` reads it.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as ProgressBar

from model_training.data.download.fetch import fetch
from model_training.data.download.official import BASE_URL, OFFICIAL_FILES, OfficialFile
from model_training.data.download.unzip import CHUNK, DownloadError, Progress, unpack
from model_training.data.isic import SET_NAMES, read_set
from model_training.files import write_text

TIMEOUT_S = 60.0
SUMS = "SHA256SUMS"


@dataclass(frozen=True)
class Sums:
    """The two digests of a file, in hexadecimal."""

    sha256: str
    md5: str


@dataclass(frozen=True)
class _Download:
    """The settings of one call."""

    client: httpx.Client
    address: str
    folder: Path
    bar: ProgressBar
    keep_archives: bool
    accept_changed: bool
    pause: Callable[[float], None]


def download_challenge(
    challenge: str,
    root: Path,
    *,
    console: Console,
    base_url: str = BASE_URL,
    keep_archives: bool = False,
    accept_changed: bool = False,
    files: Sequence[OfficialFile] | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Download the missing files of ``challenge`` (``isic2016`` or ``isic2017``) into its folder below ``root``.

    The addresses are ``base_url/<year>/<name>``. Existing files, also those placed there by hand, are checked and kept.
    Archives are deleted after unpacking unless ``keep_archives``. ``accept_changed`` accepts files whose digest differs
    from the known one; ``files`` replaces the official list. Calling again completes an interrupted call.

    Raises :class:`DownloadError` when a file cannot be obtained, and
    :class:`~model_training.data.pictures.DatasetError` when the files do not make complete sets.
    """
    if challenge not in OFFICIAL_FILES:
        raise DownloadError(f"there is no challenge {challenge!r}; choose {' or '.join(OFFICIAL_FILES)}")
    if not base_url.startswith(("http://", "https://")):
        raise DownloadError(f"--base-url must begin with http:// or https://, not {base_url!r}")
    folder = root / challenge
    address = f"{base_url.rstrip('/')}/{challenge.removeprefix('isic')}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (
            _alone_in(folder),
            httpx.Client(follow_redirects=True, timeout=TIMEOUT_S) as client,
            _progress_bar(console) as bar,
        ):
            download = _Download(client, address, folder, bar, keep_archives, accept_changed, pause)
            for file in OFFICIAL_FILES[challenge] if files is None else files:
                console.print(f"{file.name}: {_obtain(download, file)}", highlight=False)
    except OSError as error:
        raise DownloadError(f"{error}; make {folder} writable and free some space, then run it again") from error
    for name in SET_NAMES:
        if name.startswith(challenge):
            pictures = read_set(root, name)
            console.print(f"{name}: {len(pictures.samples):,} images, each with its mask and label", highlight=False)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Lock ``folder``. Raises :class:`DownloadError` while another download holds it."""
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout as error:
        raise DownloadError(f"another download is filling {folder}; wait for it, or stop it first") from error


def _obtain(download: _Download, file: OfficialFile) -> str:
    """Make sure that ``file`` is present, complete and unpacked; returns a description of what was done."""
    target, unpacked = download.folder / file.name, download.folder / file.folder
    is_unpacked, done = file.is_archive and unpacked.is_dir(), "already here"
    if is_unpacked:
        _check_complete(unpacked, file, accept_changed=download.accept_changed)
        done = "already unpacked"
        kept = download.keep_archives and file.name in read_sums(download.folder / SUMS)
        if kept or not target.is_file():
            return done
        # Otherwise an archive without a recorded sum, or one not yet deleted, remains from a call that was killed.
    elif not target.is_file():
        url = f"{download.address}/{file.name}"
        fetch(download.client, url, target, progress=_reporter(download.bar, file.name), pause=download.pause)
        done = "downloaded"
    sums = file_sums(target)
    if not download.accept_changed:
        _check_sums(target, sums, file)
    if file.is_archive and not is_unpacked:
        unpack(target, unpacked, progress=_reporter(download.bar, f"unpacking {file.name}"))
        _check_complete(unpacked, file, accept_changed=download.accept_changed)
        done += ", unpacked"
    # Only after unpacking: the sum of a damaged archive would make later calls refuse the intact one.
    _record_sum(download.folder / SUMS, file.name, sums.sha256)
    if file.is_archive and not download.keep_archives:
        target.unlink()
    return done


def file_sums(path: Path) -> Sums:
    """Both digests, in one pass over the file."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            sha256.update(chunk)
            md5.update(chunk)
    return Sums(sha256.hexdigest(), md5.hexdigest())


def read_sums(path: Path) -> dict[str, str]:
    """File names to SHA-256 from a ``SHA256SUMS`` file; empty when there is none."""
    sums: dict[str, str] = {}
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for number, line in enumerate(lines, start=1):
        found = re.fullmatch(r"([0-9a-f]{64}) [ *](.+)", line)
        if found is None:
            raise DownloadError(f"{path}, line {number}: not a sum and a name; repair or delete the file")
        sums[found[2]] = found[1]
    return sums


def _record_sum(path: Path, name: str, sha256: str) -> None:
    sums = read_sums(path)
    if sums.get(name) != sha256:
        sums[name] = sha256
        write_text(path, "".join(f"{digest}  {file}\n" for file, digest in sorted(sums.items())))


def _check_sums(target: Path, sums: Sums, file: OfficialFile) -> None:
    """Compare with the recorded and the known sum; renames a file that differs, so that it is not used again."""
    recorded = read_sums(target.parent / SUMS).get(file.name)
    if recorded not in (None, sums.sha256):
        difference = f"its SHA-256 is {sums.sha256}, {SUMS} has {recorded} from the first time"
    elif file.md5 not in (None, sums.md5):
        difference = f"its MD5 is {sums.md5}, the known one is {file.md5}"
    else:
        return
    aside = target.with_name(f"{target.name}.refused")
    target.replace(aside)
    raise DownloadError(
        f"{file.name} is not the file it should be: {difference}. It is kept as {aside.name}. Run the same command "
        "again, in case it was damaged on the way, or add --accept-changed if the organisers have replaced it"
    )


def _check_complete(unpacked: Path, file: OfficialFile, *, accept_changed: bool) -> None:
    ids = {path.stem.lower() for path in unpacked.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png")}
    num_items = sum("superpixels" not in id for id in ids)
    if num_items != file.num_items and not accept_changed:
        raise DownloadError(
            f"{unpacked} holds {num_items:,} images or masks, the official set {file.num_items:,}; move the folder "
            f"and {file.name}, if it is there, away and run the same command again, or add --accept-changed to go on "
            "with what is there"
        )


def _progress_bar(console: Console) -> ProgressBar:
    text = TextColumn("{task.description}")
    columns = (text, BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    return ProgressBar(*columns, console=console, transient=True)


def _reporter(bar: ProgressBar, description: str) -> Progress:
    task = bar.add_task(description, total=None)

    def report(done: int, total: int) -> None:
        # A finished file's line is hidden; its outcome is printed above the bar.
        bar.update(task, completed=done, total=total, visible=done < total)

    return report
