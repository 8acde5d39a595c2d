"""The processor of this machine, as measurements name it."""

from __future__ import annotations

import platform
import re
from pathlib import Path

from service.settings import usable_cpus


def processor() -> str:
    """Its model, and the cores that may be used."""
    models = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    return f"{models[0] if models else platform.machine()}, {usable_cpus()} CPUs"
