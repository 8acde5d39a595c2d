"""A server, and a challenge on it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_training.data.download.official import OFFICIAL_FILES, OfficialFile
from tests.model_training.data.download.challenge import Challenge, zipped
from tests.model_training.data.download.server import Server
from tests.synthetic import write_isic2016, write_isic2017


@pytest.fixture
def server() -> Iterator[Server]:
    """A server of its own for each test."""
    with Server() as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture(params=["isic2016", "isic2017"])
def challenge(request: pytest.FixtureRequest, server: Server, tmp_path: Path) -> Challenge:
    """Each of the two challenges, with the official names and what the readers need not."""
    original = tmp_path / "original"
    if request.param == "isic2016":
        write_isic2016(original, size=32, train=4, test=2, seed=0)
    else:
        write_isic2017(original, size=32, train=6, validation=3, test=3, seed=0)
    files = []
    small = Challenge(server, request.param, (), original, tmp_path / "data")
    for official in OFFICIAL_FILES[request.param]:
        source = original / request.param / (official.folder if official.is_archive else official.name)
        if official.is_archive:
            members = {f"{official.folder}/{path.name}": path.read_bytes() for path in source.iterdir()}
            pictures = [name for name in members if name.endswith(".jpg")]
            superpixels = {name.replace(".jpg", "_superpixels.png"): b"superpixels" for name in pictures}
            content, num_items = zipped(members | superpixels), len(members)
        else:
            content, num_items = source.read_bytes(), 0
        server.files[small.path(official.name)] = content
        files.append(OfficialFile(official.name, num_items, hashlib.md5(content).hexdigest()))
    small.files = tuple(files)
    return small
