"""Identifiers follow from what they identify: the same for a repetition, another for another thing."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from pydicom.uid import UID

from service.dicom.identity import KINDS, instance_uids, uid_of

ASKED: dict[str, Any] = {"source": "1.2.3", "model": "ab" * 32, "operating_point": "balanced", "prevalence": None}


def uids(**changed: Any) -> dict[Any, str]:
    return instance_uids(**{"kinds": KINDS, **ASKED, **changed})


def test_they_are_the_digest_of_source_model_and_kind() -> None:
    digest = hashlib.sha256(f"1.2.3|{'ab' * 32}|seg".encode()).hexdigest()
    assert uids()["seg"] == f"2.25.{int(digest[:32], 16)}"
    assert all(UID(uid).is_valid for uid in uids().values())
    assert list(instance_uids(("pr", "sr"), **ASKED)) == ["sr", "pr"]


@pytest.mark.parametrize("changed", [{"source": "1.2.4"}, {"model": "cd" * 32}])
def test_another_image_or_model_gives_other_objects(changed: dict[str, Any]) -> None:
    assert not set(uids().values()) & set(uids(**changed).values())


@pytest.mark.parametrize("changed", [{"operating_point": "high-sensitivity"}, {"prevalence": 0.05}, {"kinds": ("sr",)}])
def test_a_report_that_says_something_else_is_another(changed: dict[str, Any]) -> None:
    before, after = uids(), uids(**changed)
    assert {kind for kind in after if before[kind] != after[kind]} == {"sr"}


def test_parts_are_kept_apart() -> None:
    assert uid_of("1.2", "3") != uid_of("1.23", "") != uid_of("1.2|3")
