"""The test ledger: one line for each reading of a test set, with its purpose.

Test sets are read in ``evaluation/evaluate.py``, ``release/abstention.py`` and ``release/variants.py`` only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from model_training.data.frames import FrameSet
from model_training.training.revision import git_commit


def record_reading(
    ledger: Path, pictures: FrameSet, *, purpose: str, weights_sha256: str, metrics: Mapping[str, float]
) -> None:
    """Append a reading of ``pictures`` to ``ledger`` (JSON lines), in one write: concurrent commands lose no line."""
    entry = {
        "read_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "set": pictures.name,
        "purpose": purpose,
        "digest": pictures.digest,
        "weights_sha256": weights_sha256,
        "git_commit": git_commit(),
        "metrics": dict(metrics),
    }
    ledger.parent.mkdir(parents=True, exist_ok=True)
    with ledger.open("ab", buffering=0) as file:
        file.write((json.dumps(entry) + "\n").encode())
        os.fsync(file.fileno())
