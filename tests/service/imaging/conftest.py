"""Pools of decoder processes."""

from __future__ import annotations

import pytest

from service.imaging.fork_server import ForkServer
from tests.service.imaging.pools import Pools


@pytest.fixture
def pools(fork_server: ForkServer) -> Pools:
    """Their processes come from the session's fork server."""
    return Pools(fork_server)
