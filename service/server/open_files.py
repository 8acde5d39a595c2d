"""How many connections the limit of open files leaves room for."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

log = logging.getLogger(__name__)

# For files that work opens for a moment, and for connections that arrive together.
_SPARE = 12


def room_for_connections(wanted: int, *, spare: int = 0) -> int:
    """``wanted``, or fewer where this process may not open as many files; raises its own limit first where it can.

    ``spare`` files are left to others that are not open yet.
    """
    if sys.platform == "win32":
        return wanted
    import resource

    num_others = len(list(Path("/dev/fd").iterdir())) + _SPARE + spare
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    needed = num_others + wanted
    if soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    room = max(1, min(wanted, soft - num_others))
    if room < wanted:
        log.warning("%d open files are allowed (ulimit -n): %d connections at once, not %d", soft, room, wanted)
    return room
