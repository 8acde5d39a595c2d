"""How much of everything a run does."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Plan:
    """The full run's measure; the short one is for every change."""

    soak_requests: int = 20_000
    control_requests: int = 2_000
    damaged_pictures: int = 2_000
    atheris_seconds: int = 60
    attackers: int = 300
    # Time limits for clients in the service under test; its defaults in the full run.
    head_seconds: float = 10.0
    stall_seconds: float = 20.0
    deadline_seconds: float = 30.0
    slowhttptest_seconds: int = 20
    overload_seconds: float = 20.0
    quiet_seconds: float = 15.0  # before DICOM bombs, to compare with
    schema_examples: int = 60
    disk_megabytes: int = 8
    queue_size: int = 64
    shutdown_seconds: int = 5
    kills: int = 20
    faults: tuple[str, ...] = ("device error", "not finite", "drifting")  # of tests.service.faults
    job_pictures: int = 2_000
    job_kills: int = 12
    job_stands_still: bool = True
    archive_pictures: int = 300
    archive_interruptions: int = 60
    own_bundle: Path | None = field(default=None)  # None: the shipped one

    def settings(self) -> dict[str, str]:
        """What every service is started with."""
        chosen = {
            "CIN_HEAD_SECONDS": f"{self.head_seconds:g}",
            "CIN_STALL_SECONDS": f"{self.stall_seconds:g}",
            "CIN_DEADLINE_SECONDS": f"{self.deadline_seconds:g}",
            "CIN_LOG_LEVEL": "error",
            # What is kept of predictions takes its share soon, and makes room from then on.
            "CIN_RECORD_MAX_BYTES": str(16 * 2**20),
        }
        return chosen | ({} if self.own_bundle is None else {"CIN_BUNDLE": str(self.own_bundle)})


def short(bundle: Path) -> Plan:
    """About two minutes, around a bundle whose network costs nothing."""
    return Plan(
        soak_requests=600,
        control_requests=200,
        damaged_pictures=300,
        atheris_seconds=0,
        attackers=60,
        head_seconds=2.0,
        stall_seconds=2.0,
        deadline_seconds=4.0,
        slowhttptest_seconds=4,
        overload_seconds=5.0,
        quiet_seconds=3.0,
        schema_examples=8,
        disk_megabytes=1,
        queue_size=16,
        shutdown_seconds=2,
        kills=2,
        faults=("drifting",),
        job_pictures=60,
        job_kills=3,
        job_stands_still=False,
        archive_pictures=100,
        archive_interruptions=6,
        own_bundle=bundle,
    )
