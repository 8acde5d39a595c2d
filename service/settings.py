"""Every limit and switch of the service, from the environment (``CIN_*``) and ``.env``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

SHIPPED_BUNDLE = Path(__file__).parent / "bundles" / "cin-isic2017"

_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?")

# Counted for each answer of a job; Redis takes less for one.
ANSWER_BYTES = 8 * 2**10

# Settings of training and tests, so not typing errors when the service sees them.
_SETTINGS_OF_OTHERS = {"CIN_DATA", "CIN_CACHE"}


def usable_cpus() -> int:
    """CPUs this process may use: by its affinity and, if there is one, the cgroup's quota."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, period = cgroup_quota()
    return min(cpus, max(1, quota // period)) if quota > 0 else cpus


def cgroup_quota(root: Path = Path("/sys/fs/cgroup")) -> tuple[int, int]:
    """The cgroup's CPU quota per period and the period, in microseconds; a quota of -1 means none."""
    files = (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"))  # cgroup v2, v1
    for names in files:
        try:
            quota, period = " ".join((root / name).read_text(encoding="ascii") for name in names).split()
            return int(quota), int(period)
        except (OSError, ValueError):  # another version, or no quota ("max")
            continue
    return -1, 1


class Settings(BaseSettings):
    """Read once at start and passed on; nothing else reads the environment."""

    # Compose files pass unset variables on as empty ones; those count as unset.
    model_config = SettingsConfigDict(
        env_prefix="CIN_", env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 picks a free one")
    metrics_port: int | None = Field(
        None, ge=1, le=65535, description="a port of its own for Prometheus, which asks for no key; default: none"
    )
    bundle: Path = Field(SHIPPED_BUNDLE, description="folder of the model bundle")
    operating_point: str | None = Field(None, description="name of an operating point; default: the bundle's")

    abstain: Literal["on", "caution", "off"] = Field(
        "on",
        description="images beyond the bundle's limits get no advice (on), or the advice with the reasons (caution), "
        "or are not examined (off)",
    )
    keys: Path | None = Field(None, description="file of API keys, made by cin keys; default: requests need none")
    allow_anyone: bool = Field(False, description="serve other machines without asking for keys")
    published: str | None = Field(
        None, description="host:port where a proxy or container engine publishes this service; default: CIN_HOST"
    )
    trusted_proxies: str | None = Field(
        None,
        description="addresses of proxies whose X-Forwarded-For is believed; * for all, which must replace what "
        "clients send; default: none",
    )
    caller_rate: float = Field(1000.0, gt=0, description="requests a second from one caller; more are refused with 429")
    caller_places: int | None = Field(
        None,
        gt=0,
        description="slots that one caller may hold; default: with keys, half of CIN_QUEUE_SIZE, else all. Whatever it "
        "is, a caller with several leaves as many free as it takes",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="origins, such as https://viewer.example.org, whose pages may use the API; separated by commas; "
        "default: none",
    )
    audit: Path | None = Field(None, description="file of the audit log; default: none is written")
    ledger: Path | None = Field(
        None,
        description="file of the ledger (SQLite), which keeps answers and what clinicians say of them, without images; "
        "default: nothing outlives CIN_RECORD_TTL_SECONDS",
    )

    variant: Literal["auto", "fp32", "fp16", "int8"] = Field(
        "auto", description="precision variant; auto: the fastest the bundle has for the provider: fp16, int8 or fp32"
    )
    provider: Literal["auto", "cpu", "cuda", "tensorrt"] = Field(
        "auto", description="auto uses CUDA where a GPU works, else the CPU; tensorrt is never chosen by itself"
    )
    require_gpu: bool = Field(False, description="refuse to start without a working GPU")
    gpu_memory_bytes: int | None = Field(
        None, gt=0, description="most GPU memory ONNX Runtime takes; default: no limit"
    )
    tensorrt_cache: Path | None = Field(
        None,
        description="folder where TensorRT keeps what it builds, which takes minutes; default: built at each start",
    )
    inference_threads: int = Field(
        default_factory=usable_cpus, ge=1, description="CPU threads that decode, infer and draw overlays"
    )

    max_upload_bytes: int = Field(20 * 2**20, gt=0, description="largest image in bytes")
    max_pixels: int = Field(
        40_000_000,
        gt=0,
        description="largest image in pixels, and JPEGs of four times as many, which are decoded at half their size; "
        "above 40 million, 422 where decoding takes over 400 MiB",
    )
    queue_size: int = Field(
        64, gt=0, description="slots: images in flight at once, from decoding to answer; more are refused with 429"
    )
    batch_pictures: int = Field(16, gt=0, description="most images in one request to /predict/batch")
    max_batch: int | None = Field(None, gt=0, description="largest batch; default: 1 on a CPU, 16 on a GPU")
    deadline_seconds: float = Field(
        30.0, gt=0, description="time for one request: an upload that takes longer gets 408, an answer 504"
    )
    max_connections: int = Field(512, gt=0, description="open connections; beyond that the longest idle one is closed")
    head_seconds: float = Field(10.0, gt=0, description="time for a request's headers to arrive")
    stall_seconds: float = Field(
        20.0, gt=0, description="a client that sends or reads nothing for this long is disconnected"
    )
    farewell_seconds: float = Field(
        0.0, ge=0, description="delay between failing readiness and exit, once answers can no longer be trusted"
    )
    shutdown_seconds: int = Field(20, gt=0, description="time for requests in flight to finish at shutdown")

    records_folder: Path | None = Field(None, description="where predictions are kept; default: in memory")
    records_url: SecretStr | None = Field(
        None, description="Redis that keeps the predictions of several replicas: redis://host:6379/0"
    )
    record_ttl_seconds: float = Field(3600.0, gt=0, description="how long a prediction is kept")
    record_max_bytes: int = Field(
        128 * 2**20,
        ge=16 * 2**20,
        description="size of all kept predictions; beyond that the client with most loses its oldest",
    )

    jobs_url: SecretStr | None = Field(
        None,
        description="Redis that holds jobs, which writes to its disk (--appendonly yes): redis://host:6379/0; default: "
        "no jobs are taken",
    )
    jobs_max_bytes: int = Field(
        512 * 2**20,
        ge=32 * 2**20,
        description="size of all jobs in Redis: images that wait, and 8 KiB for each answer; more jobs are refused "
        "with 429. With keys, one client may hold half of it",
    )
    jobs_ttl_seconds: float = Field(
        86_400.0, gt=0, description="how long a job is kept with its answers, from when it was sent"
    )
    job_pictures: int = Field(2000, gt=0, description="most images of one job")
    job_max_bytes: int = Field(192 * 2**20, gt=0, description="largest job in bytes, all images together")
    webhook_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="origins, such as https://clinic.example.org, at which the end of a job may be announced; "
        "separated by commas; default: none",
    )
    webhook_key_file: Path | None = Field(
        None, description="file of the key that signs announcements, as whsec_ and Base64"
    )

    dicomweb_servers: Path | None = Field(
        None, description="file of the DICOMweb servers that jobs may name (TOML); default: jobs have their images sent"
    )
    dicomweb_user: str | None = Field(None, description="name at the PACS, for cin dicom watch; default: none is sent")
    dicomweb_password_file: Path | None = Field(None, description="file that holds the password at the PACS")

    canary_seconds: float = Field(300.0, gt=0, description="time between two canary checks")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="lowest level that is logged")

    @field_validator("cors_origins", "webhook_origins", mode="before")
    @classmethod
    def _splits_origins(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("cors_origins", "webhook_origins")
    @classmethod
    def _names_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin!r} is not an origin: scheme, host and port alone, as in https://example.org")
        return origins

    @model_validator(mode="after")
    def _keeps_records_in_one_place(self) -> Settings:
        if self.records_folder is not None and self.records_url is not None:
            raise ValueError("predictions are kept in CIN_RECORDS_FOLDER or at CIN_RECORDS_URL; set only one")
        return self

    @model_validator(mode="after")
    def _keeps_jobs_with_their_records(self) -> Settings:
        if self.jobs_url is not None and self.records_url is None:
            raise ValueError(
                "the predictions of jobs are kept at CIN_RECORDS_URL, where every replica finds them; set it as well"
            )
        if self.job_max_bytes + self.job_pictures * ANSWER_BYTES > self.jobs_max_bytes // 2:
            raise ValueError(
                "the largest job (CIN_JOB_MAX_BYTES, and 8 KiB for each of CIN_JOB_PICTURES) must fit into half of "
                "CIN_JOBS_MAX_BYTES"
            )
        if self.dicomweb_servers is not None and self.jobs_url is None:
            raise ValueError("CIN_DICOMWEB_SERVERS is for jobs; set CIN_JOBS_URL as well, or unset it")
        if bool(self.webhook_origins) != (self.webhook_key_file is not None):
            raise ValueError("announcements are signed: set CIN_WEBHOOK_ORIGINS and CIN_WEBHOOK_KEY_FILE, or neither")
        return self

    @model_validator(mode="after")
    def _has_user_and_password(self) -> Settings:
        if (self.dicomweb_user is None) != (self.dicomweb_password_file is None):
            raise ValueError("a user at the PACS has a password: set CIN_DICOMWEB_USER and CIN_DICOMWEB_PASSWORD_FILE")
        return self

    def max_in_flight_per_caller(self) -> int | None:
        """Slots that one caller may hold; None: all of them."""
        share = None if self.keys is None else max(1, self.queue_size // 2)
        return self.caller_places or share

    def expects_gpu(self, devices: Path = Path("/dev")) -> bool:
        """Whether a GPU was requested, or is present and may be used."""
        asked = self.require_gpu or self.provider in ("cuda", "tensorrt")
        return asked or (self.provider == "auto" and any(devices.glob("nvidia[0-9]*")))

    def effective_max_batch(self, provider: str) -> int:
        """The largest batch for the provider in use; batches gain nothing on a CPU."""
        return self.max_batch or (1 if provider == "cpu" else 16)


def unknown_variables(environment: Iterable[str]) -> list[str]:
    """Environment variables that look like a setting but are not; most are typing errors."""
    known = {f"CIN_{name}".upper() for name in Settings.model_fields} | _SETTINGS_OF_OTHERS
    return sorted(name for name in environment if name.upper().startswith("CIN_") and name.upper() not in known)
