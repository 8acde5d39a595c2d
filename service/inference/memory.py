"""What the process keeps of the memory it has used: little of what loading took, some of what every picture takes."""

from __future__ import annotations

import ctypes
from contextlib import suppress

from PIL import Image

# Pillow works in blocks of 16 MB; a picture of 12 megapixels takes three.
_BLOCKS_PER_CORE = 3
_MOST_BLOCKS = 12


def keep_for_pictures(num_cores: int) -> None:
    """Let Pillow keep the blocks of large pictures for the next ones.

    Otherwise the system clears every page of them again for each picture, a tenth of the time it takes to decode one.
    """
    Image.core.set_blocks_max(  # type: ignore[attr-defined]
        min(_BLOCKS_PER_CORE * num_cores, _MOST_BLOCKS)
    )


def give_back_freed() -> None:
    """Return to the system what was freed; of loading a network, glibc would keep almost as much as is in use."""
    with suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
