"""Networks of a quarter of ResNet18's widths: most of a small training's time goes into weights that no test needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

WIDTHS = (16, 32, 64, 128)


@contextmanager
def narrow_networks() -> Iterator[None]:
    """Residual networks that are made here are narrow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model_training.network.resnet.WIDTHS", WIDTHS)
        yield
