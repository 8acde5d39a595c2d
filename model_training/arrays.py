"""Shared array types; the suffix of a variable's name states its shape (``labels_N``, ``scores_NK``)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
Flags = NDArray[np.bool_]
Scores = NDArray[np.float64]
Frames = NDArray[np.uint8]  # [N, F, F, 3], sRGB
