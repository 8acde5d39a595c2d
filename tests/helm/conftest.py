"""The program that renders the chart."""

from __future__ import annotations

import pytest

from tests.helm.chart import find_helm


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Helm, where it is installed."""
    return find_helm(tmp_path_factory.mktemp("helm"))
