"""The cache of overlays: its size, its age, and what leaves it with a record."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from service.attention.cache import OverlayCache
from service.attention.overlay import OverlayOptions

MADE = datetime(2026, 1, 1, tzinfo=UTC)
LESION, SPATIAL = OverlayOptions(), OverlayOptions(kind="spatial")


def test_the_oldest_make_room() -> None:
    kept = OverlayCache(max_bytes=25)
    for id in ("a", "b", "c"):
        kept.put(id, MADE, LESION, bytes(10))
    assert [kept.get(id, MADE, LESION) is not None for id in ("a", "b", "c")] == [False, True, True]
    kept.put("c", MADE, LESION, bytes(12))
    assert kept.get("b", MADE, LESION) is not None, "what is drawn again counts once"
    kept.put("d", MADE, LESION, bytes(26))
    assert all(kept.get(id, MADE, LESION) is None for id in ("b", "c", "d")), "one that is larger than all is not kept"


def test_none_is_kept_for_long() -> None:
    now = [0.0]
    kept = OverlayCache(max_seconds=60, clock=lambda: now[0])
    kept.put("a", MADE, LESION, b"1")
    now[0] = 59
    kept.put("a", MADE, SPATIAL, b"2")
    assert kept.get("a", MADE, LESION) == b"1"
    now[0] = 60
    assert kept.get("a", MADE, LESION) is None
    assert kept.get("a", MADE, SPATIAL) == b"2"
    now[0] = 200
    kept.put("b", MADE, LESION, bytes(32 * 2**20))
    assert kept.get("b", MADE, LESION) is not None, "the old ones are gone and take no room"


def test_a_record_is_forgotten_as_a_whole() -> None:
    kept = OverlayCache()
    for id in ("a", "b"):
        for options in (LESION, SPATIAL):
            kept.put(id, MADE, options, id.encode())
    kept.forget("a")
    assert [kept.get(id, MADE, SPATIAL) for id in ("a", "b")] == [None, b"b"]


def test_an_id_that_comes_again_has_overlays_of_its_own() -> None:
    kept = OverlayCache()
    kept.put("a", MADE, LESION, b"the first picture")
    later = MADE + timedelta(microseconds=1)
    assert kept.get("a", later, LESION) is None
    kept.put("a", later, LESION, b"another")
    assert kept.get("a", MADE, LESION) == b"the first picture"
    kept.forget("a")
    assert kept.get("a", MADE, LESION) is kept.get("a", later, LESION) is None
