"""A small synthetic challenge to download."""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from model_training.data.download.download import download_challenge
from model_training.data.download.official import OFFICIAL_FILES, OfficialFile
from tests.model_training.data.download.server import Server


def zipped(entries: dict[str, bytes], *, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A ZIP archive of these entries."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as out:
        for name, content in entries.items():
            out.writestr(name, content)
    return buffer.getvalue()


def publish(server: Server, challenge: str, original: Path) -> tuple[OfficialFile, ...]:
    """Put a challenge in the official layout below ``original`` on the server, under the official names."""
    files = []
    for official in OFFICIAL_FILES[challenge]:
        source = original / challenge / (official.folder if official.is_archive else official.name)
        if official.is_archive:
            members = {f"{official.folder}/{path.name}": path.read_bytes() for path in source.iterdir()}
            pictures = [name for name in members if name.endswith(".jpg")]
            # What the readers need not.
            superpixels = {name.replace(".jpg", "_superpixels.png"): b"superpixels" for name in pictures}
            content, num_items = zipped(members | superpixels), len(members)
        else:
            content, num_items = source.read_bytes(), 0
        server.files[f"/{challenge.removeprefix('isic')}/{official.name}"] = content
        files.append(OfficialFile(official.name, num_items, hashlib.md5(content).hexdigest()))
    return tuple(files)


@dataclass
class Challenge:
    """A small synthetic challenge on the server, and the folder that it is downloaded into."""

    server: Server
    name: str
    files: tuple[OfficialFile, ...]
    original: Path
    data: Path

    @property
    def folder(self) -> Path:
        """Where the files are downloaded to."""
        return self.data / self.name

    def path(self, name: str) -> str:
        """Where the server has a file."""
        return f"/{self.name.removeprefix('isic')}/{name}"

    def download(self, **options: Any) -> str:
        """Download it; returns what is printed."""
        console = Console(file=io.StringIO(), width=200)
        options = {"files": self.files, **options}
        download_challenge(
            self.name, self.data, console=console, base_url=self.server.url, pause=lambda _: None, **options
        )
        return console.file.getvalue()  # type: ignore[attr-defined]


def set_names(challenge: Challenge) -> list[str]:
    """The official sets of the challenge."""
    splits = ("train", "test") if challenge.name == "isic2016" else ("train", "validation", "test")
    return [f"{challenge.name}-{split}" for split in splits]
