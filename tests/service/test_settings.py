"""Settings: from the environment and ``.env``, checked, and typing errors noticed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from service.settings import Settings, cgroup_quota, unknown_variables, usable_cpus


def test_environment_before_env_file_before_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("CIN_PORT=9001\nCIN_QUEUE_SIZE=5\n")
    monkeypatch.setenv("CIN_PORT", "9002")
    settings = Settings()
    assert (settings.port, settings.queue_size, settings.host) == (9002, 5, "127.0.0.1")


@pytest.mark.parametrize("setting", [{"port": 70000}, {"queue_size": 0}, {"provider": "tpu"}, {"variant": "fp8"}])
def test_impossible_values_are_refused(setting: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Settings(**setting)  # type: ignore[arg-type]


def test_every_setting_is_described() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_names_that_are_no_setting_are_found() -> None:
    assert unknown_variables(["CIN_PORT", "CIN_PROT", "cin_bundel", "PATH", "CIN_DATA"]) == ["CIN_PROT", "cin_bundel"]


def test_batches_are_for_gpus_unless_asked_for() -> None:
    assert Settings().effective_max_batch("cpu") == 1
    assert Settings().effective_max_batch("cuda") > 1
    assert Settings(max_batch=3).effective_max_batch("cpu") == 3


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no CPU affinity")
def test_threads_follow_the_affinity_not_the_machine() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert usable_cpus() == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "250000 100000\n"}, (250000, 100000)),
        ({"cpu.max": "max 100000\n"}, (-1, 1)),
        ({"cpu/cpu.cfs_quota_us": "150000\n", "cpu/cpu.cfs_period_us": "100000\n"}, (150000, 100000)),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, (-1, 100000)),
        ({}, (-1, 1)),
    ],
)
def test_the_quota_of_a_container(tmp_path: Path, files: dict[str, str], quota: tuple[int, int]) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cgroup_quota(tmp_path) == quota
