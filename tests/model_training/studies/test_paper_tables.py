"""What the paper printed, and the systems of its tables."""

from __future__ import annotations

import pytest

from model_training.config import load_config
from model_training.studies.paper_tables import SYSTEMS, TABLES


@pytest.mark.parametrize("number", TABLES)
def test_every_row_is_published_or_ours(number: int) -> None:
    table = TABLES[number]
    for row in table.rows:
        assert row.paper or row.system, row.name
        assert set(row.paper) <= set(table.metrics), row.name
        assert all(0 < figure < 1 for figure in row.paper.values())
    assert table.baseline is None or table.baseline in table.systems()


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_system_is_a_valid_configuration(system: str) -> None:
    network = load_config(None, SYSTEMS[system]).network
    assert network.distinguish == (system in ("d", "cin", "sdl"))
    assert network.lesion_area_attention == (system in ("a", "af", "af-two-branches", "cin"))
    assert network.lesion_feature_attention == (system in ("f", "af", "af-two-branches", "cin"))
