"""Parts of an archive for several machines."""

from __future__ import annotations

import hashlib
import os
import re
from typing import NamedTuple, Self


class Shard(NamedTuple):
    """One of ``of`` parts, from 1 on. An image's path alone decides in which it is, so that machines need not agree on
    anything else, and images that are added later move none."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """From ``2/3``; raises ValueError for anything else."""
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text, re.ASCII)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise ValueError("a part and the number of parts, from 1/3 to 3/3")
        return cls(int(match[1]), int(match[2]))

    def has(self, path: str) -> bool:
        """Whether an image is in this part; ``path`` is relative to the folder that is searched."""
        digest = hashlib.sha256(os.fsencode(path)).digest()
        return int.from_bytes(digest[:8]) % self.of == self.number - 1
