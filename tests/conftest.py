"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from service.bundle import Bundle, load_bundle
from service.settings import SHIPPED_BUNDLE

REPOSITORY = Path(__file__).parent.parent


def find_data() -> Path | None:
    """The folder of real dermoscopy pictures, where there is one."""
    folder = Path(os.environ.get("CIN_DATA", REPOSITORY.parent / "shared" / "data"))
    return folder if (folder / "isic2017").is_dir() else None


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder that holds ``isic2016/``, ``isic2017/`` and ``samples/``."""
    folder = find_data()
    if folder is None:
        pytest.skip("real dermoscopy pictures are not there; set CIN_DATA")
    return folder


@pytest.fixture(scope="session")
def shipped_bundle() -> Bundle:
    """The bundle in the repository."""
    return load_bundle(SHIPPED_BUNDLE)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the caller's environment, or of a ``.env`` in the working directory, reaches a test."""
    for name in list(os.environ):
        if name.startswith("CIN_") and name != "CIN_DATA":
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
