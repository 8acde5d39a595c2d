"""Which freed memory the process keeps: none of what loading took, some of what every picture takes."""

from __future__ import annotations

import ctypes
from contextlib import suppress

from PIL import Image

# Pillow allocates blocks of 16 MB; a picture of 12 megapixels takes three.
_BLOCKS_PER_CORE = 3
_MOST_BLOCKS = 12


def keep_for_pictures(num_cores: int) -> None:
    """Let Pillow reuse the blocks of large pictures.

    Otherwise the kernel clears their pages for each picture, which takes a tenth of the decoding time.
    """
    Image.core.set_blocks_max(  # type: ignore[attr-defined]
        min(_BLOCKS_PER_CORE * num_cores, _MOST_BLOCKS)
    )


def give_back_freed() -> None:
    """Return freed memory to the system: after loading a network, glibc keeps almost as much as is in use."""
    with suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
