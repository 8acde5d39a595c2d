"""The audit of the real sets finds what is known of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from model_training.data.audit import examine
from model_training.data.audit.audit import AuditReport, audit_sets
from model_training.data.download.official import SHARED_IDS


@pytest.fixture(scope="module")
def real(data_root: Path) -> AuditReport:
    """All real sets; half the frame size keeps the tests fast and finds the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(examine, "FRAME_SIZE", 128)
        return audit_sets(data_root, (), console=Console(quiet=True))


@pytest.mark.data
def test_the_ids_that_the_years_share(real: AuditReport) -> None:
    shared = {frozenset({each.first, each.second}): len(each.ids) for each in real.shared_ids}
    assert shared == dict(SHARED_IDS)
    assert shared[frozenset({"isic2016-test", "isic2017-train"})] == 305


@pytest.mark.data
def test_the_files_that_lie_there_twice(real: AuditReport) -> None:
    twice = {frozenset(place[-7:] for place in copies.places) for copies in real.copies if copies.same_bytes}
    assert twice == {
        frozenset(pair)
        for pair in (
            ("0012152", "0015979"),
            ("0016001", "0012216"),
            ("0016002", "0012221"),
            ("0012175", "0015982"),
            ("0012271", "0016018"),
            ("0012127", "0012970"),
            ("0000279", "0000280"),
            ("0001442", "0001742"),
        )
    }


@pytest.mark.data
def test_the_labels_that_contradict_each_other(real: AuditReport) -> None:
    by_id = {(c.first[-12:], c.first_diagnosis, c.second_diagnosis) for c in real.conflicts if c.by == "id"}
    ids = ("ISIC_0000077", "ISIC_0000511", "ISIC_0010094")
    assert by_id == {(id, "benign", "melanoma") for id in ids}


@pytest.mark.data
def test_real_pictures_that_look_alike(real: AuditReport) -> None:
    """Seen to be one photograph: as it was, with other colours, sharper, and upside down."""
    alike = {frozenset(place[-7:] for place in copies.places) for copies in real.copies if not copies.same_bytes}
    for pair in (("0012887", "0012989"), ("0000519", "0011295"), ("0000222", "0014846"), ("0000189", "0015161")):
        assert frozenset(pair) in alike
    # Seen to be two lesions.
    assert not alike & {frozenset({"0000080", "0000501"}), frozenset({"0000013", "0000126"})}
    assert 25 <= len(alike) <= 35
