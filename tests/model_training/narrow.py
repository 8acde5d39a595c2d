"""ResNet18 with a quarter of its widths, EfficientNet-Lite0 without its repeated blocks.

Most of a small training's time goes into weights, most of an export's into operators, that no test needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from model_training.network.efficientnet_lite import LAYERS

WIDTHS = (16, 32, 64, 128)
FEW_BLOCKS = tuple(tuple((1, *part[1:]) for part in layer) for layer in LAYERS)


@contextmanager
def narrow_networks() -> Iterator[None]:
    """Networks that are made here are small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model_training.network.resnet.WIDTHS", WIDTHS)
        patch.setattr("model_training.network.efficientnet_lite.LAYERS", FEW_BLOCKS)
        yield
