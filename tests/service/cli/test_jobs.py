"""``cin jobs work`` says what it needs; how it works is in ``tests/service/jobs``."""

from __future__ import annotations

from tests.service.cli.conftest import cin


def test_work_says_which_settings_it_needs() -> None:
    refused = cin("jobs", "work")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "CIN_JOBS_URL" in refused.stderr
    refused = cin("jobs", "work", CIN_JOBS_URL="redis://127.0.0.1:1/0")
    assert refused.exit_code != 0
    assert "CIN_RECORDS_URL" in refused.stderr
