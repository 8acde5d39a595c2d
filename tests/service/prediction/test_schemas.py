"""The documented answer, and answers that were kept."""

from __future__ import annotations

import json

import pytest

from service.prediction.schemas import Prediction, read_prediction

EXAMPLE = Prediction.model_json_schema()["examples"][0]


def test_kept_predictions_of_other_versions_are_read() -> None:
    kept = json.loads(json.dumps(EXAMPLE))
    del kept["image"]["notes"]
    del kept["decision"]["performance"]
    kept["image"]["added_later"] = 1
    assert read_prediction(json.dumps(kept), kept["id"]).image.notes == []


def test_another_predictions_id_is_refused() -> None:
    with pytest.raises(ValueError, match="another"):
        read_prediction(json.dumps(EXAMPLE), "other")
