"""A server, and a challenge on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.model_training.data.download.challenge import Challenge, publish
from tests.model_training.data.download.server import Server, running_server
from tests.synthetic import write_isic2016, write_isic2017


@pytest.fixture
def server() -> Iterator[Server]:
    """A server of its own for each test."""
    with running_server() as running:
        yield running


@pytest.fixture(params=["isic2016", "isic2017"])
def challenge(request: pytest.FixtureRequest, server: Server, tmp_path: Path) -> Challenge:
    """Each of the two challenges, with the official names and what the readers need not."""
    original = tmp_path / "original"
    if request.param == "isic2016":
        write_isic2016(original, size=32, train=4, test=2, seed=0)
    else:
        write_isic2017(original, size=32, train=6, validation=3, test=3, seed=0)
    return Challenge(server, request.param, publish(server, request.param, original), original, tmp_path / "data")
