"""A small synthetic challenge to download."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from model_training.data.download.download import download_challenge
from model_training.data.download.official import OfficialFile
from tests.model_training.data.download.server import Server


def zipped(entries: dict[str, bytes], *, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A ZIP archive of these entries."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as out:
        for name, content in entries.items():
            out.writestr(name, content)
    return buffer.getvalue()


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
