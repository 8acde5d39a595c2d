"""How many connections the limit of open files (``ulimit -n``) allows."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

log = logging.getLogger(__name__)

# For temporary files, and for connections that arrive together.
_SPARE = 12


def room_for_connections(wanted: int, *, spare: int = 0) -> int:
    """``wanted`` connections, or as many as this process may open files for; raises its soft limit first.

    ``spare`` files are reserved for other purposes.
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
