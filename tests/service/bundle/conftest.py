"""A bundle that may be damaged."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from service.bundle import Bundle


@pytest.fixture
def folder(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    """A copy of the tiny bundle that may be damaged, alone in its parent folder."""
    return shutil.copytree(tiny_bundle.folder, tmp_path / "here" / "tiny")
