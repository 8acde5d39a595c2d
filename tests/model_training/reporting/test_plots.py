"""The plots show every set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from model_training.reporting.judgement import judge
from model_training.reporting.plots import PLOTS, draw_plots
from tests.model_training.reporting.answers import random_answers


def test_plots_show_what_they_should(tmp_path: Path) -> None:
    sets = {"first": random_answers(same_branches=True), "second": random_answers(seed=2)}
    judgement = judge(sets)
    once, twice = tmp_path / "once", tmp_path / "twice"
    once.mkdir()
    twice.mkdir()
    files = draw_plots(sets, judgement, once)
    assert [path.stem for path in files] == list(PLOTS)
    for path in files:
        with Image.open(path) as picture:
            grey = np.asarray(picture.convert("L"))
        assert grey.shape[1] > 1.9 * grey.shape[0], "one column for each set"
        left, right = grey[:, : grey.shape[1] // 2], grey[:, grey.shape[1] // 2 :]
        assert min((left < 250).mean(), (right < 250).mean()) > 0.01, f"{path.name} is blank"
    again = draw_plots(sets, judgement, twice)
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in files]
