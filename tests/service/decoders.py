"""The processes that decode for the services of this process."""

from __future__ import annotations

import psutil


def decoders() -> list[psutil.Process]:
    """The processes that decode for this one: what its fork server has forked."""
    return [grandchild for child in psutil.Process().children() for grandchild in child.children()]
