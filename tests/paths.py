"""Where the repository and the real images are. Imports nothing: programs that tests start need it, too."""

from __future__ import annotations

import os
from pathlib import Path

TESTS = Path(__file__).parent
REPOSITORY = TESTS.parent


def find_data() -> Path | None:
    """The folder of real dermoscopy images, where there is one."""
    folder = Path(os.environ.get("CIN_DATA", REPOSITORY.parent / "shared" / "data"))
    return folder if (folder / "isic2017").is_dir() else None
