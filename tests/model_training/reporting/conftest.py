"""What is found of answers made for these tests."""

from __future__ import annotations

from typing import Any

import pytest

from model_training.reporting.judgement import judge
from tests.model_training.reporting.answers import random_answers


@pytest.fixture(scope="session")
def judgement() -> dict[str, Any]:
    """Of two sets; not to be changed."""
    return judge({"held-out": random_answers(), "tested": random_answers(seed=1)})
