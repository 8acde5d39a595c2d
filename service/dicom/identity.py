"""Which objects there are, and their identifiers: the same for the same thing, so that repeating adds no object."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Literal, get_args

Kind = Literal["sr", "seg", "sc", "pr"]
# Structured report, segmentation, secondary capture and presentation state.
KINDS: tuple[Kind, ...] = get_args(Kind)


def instance_uids(
    kinds: Collection[Kind], source: str, model: str, *, operating_point: str, prevalence: float | None = None
) -> dict[Kind, str]:
    """The SOP Instance UIDs of the objects about the image ``source`` (its SOP Instance UID), in the order of KINDS.

    ``model`` is the digest of the bundle, ``prevalence`` the one that the client asked for, None: as calibrated. Both
    and the operating point change what a report says, and so does a capture that it refers to.
    """
    view = [operating_point, "" if prevalence is None else repr(prevalence), *(["sc"] if "sc" in kinds else [])]
    return {kind: uid_of(source, model, kind, *(view if kind == "sr" else [])) for kind in KINDS if kind in kinds}


def uid_of(*parts: str) -> str:
    """A UID that follows from what it identifies (PS3.5, B.2): 128 bits of its SHA-256."""
    return f"2.25.{int.from_bytes(hashlib.sha256('|'.join(parts).encode()).digest()[:16])}"
