"""The audit log's chain: whatever is done to it shows."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.audit.chain import EMPTY, ChainError, Entry, Head, to_line, verify

AT = datetime(2026, 1, 1, 12, tzinfo=UTC)

details = st.dictionaries(
    st.text(min_size=1).filter(lambda name: name not in ("seq", "previous", "at", "what", "sha256")),
    st.none() | st.text() | st.integers() | st.lists(st.text(), max_size=3),
    max_size=4,
)
chains = st.lists(st.tuples(st.text(), details), min_size=1, max_size=8)


def _chain(entries: list[tuple[str, dict[str, Any]]], head: Head = EMPTY) -> list[bytes]:
    lines = []
    for what, more in entries:
        line, head = to_line(Entry(what, AT, more), head)
        lines.append(line)
    return lines


def _check_independently(lines: list[bytes]) -> None:
    """The documented rule, written down once more."""
    previous = "0" * 64
    for number, line in enumerate(lines, 1):
        entry = json.loads(line)
        digest = entry.pop("sha256")
        assert list(entry)[:4] == ["seq", "previous", "at", "what"]
        assert (entry["seq"], entry["previous"]) == (number, previous)
        assert hashlib.sha256(json.dumps(entry, separators=(",", ":")).encode()).hexdigest() == digest
        previous = digest


@given(chains)
def test_a_chain_verifies_by_the_documented_rule(entries: list[tuple[str, dict[str, Any]]]) -> None:
    lines = _chain(entries)
    _check_independently(lines)
    verdict = verify(lines)
    assert (verdict.first, verdict.num_entries, verdict.torn_bytes) == (1, len(lines), 0)
    assert verdict.head == Head(len(lines), json.loads(lines[-1])["sha256"])
    for line, (what, more) in zip(lines, entries, strict=True):
        entry = json.loads(line)
        assert entry["what"] == what
        assert {name: entry[name] for name in more} == more
        assert line.count(b"\n") == 1, "one line, whatever is in it"


@given(chains, st.data())
def test_a_changed_byte_is_found_in_its_line(entries: list[tuple[str, dict[str, Any]]], data: st.DataObject) -> None:
    lines = _chain(entries)
    number = data.draw(st.integers(0, len(lines) - 1))
    place = data.draw(st.integers(0, len(lines[number]) - 2))
    byte = data.draw(st.integers(0, 255).filter(lambda b: b not in (lines[number][place], ord("\n"))))
    lines[number] = lines[number][:place] + bytes([byte]) + lines[number][place + 1 :]
    with pytest.raises(ChainError) as caught:
        verify(lines)
    assert caught.value.line == number + 1


@given(st.lists(st.tuples(st.text(), details), min_size=3, max_size=8), st.data())
def test_an_entry_taken_out_moved_or_put_in_is_found(
    entries: list[tuple[str, dict[str, Any]]], data: st.DataObject
) -> None:
    lines = _chain(entries)
    number = data.draw(st.integers(0, len(lines) - 2))
    without = [*lines[:number], *lines[number + 1 :]]
    if number:  # without its beginning a chain is one whose older files are elsewhere, which it says
        with pytest.raises(ChainError) as caught:
            verify(without)
        assert caught.value.line == number + 1
    else:
        assert verify(without).first == 2
    for forged in (
        [*lines[:number], lines[number + 1], lines[number], *lines[number + 2 :]],
        [*lines[: number + 1], lines[number], *lines[number + 1 :]],
        [*lines[: number + 1], *_chain([("forged", {})], EMPTY), *lines[number + 1 :]],
    ):
        with pytest.raises(ChainError):
            verify(forged)


def test_a_rewritten_entry_breaks_the_next_one() -> None:
    lines = _chain([("a", {}), ("b", {"outcome": "refused"}), ("c", {})])
    head = verify(lines[:1]).head
    lines[1] = to_line(Entry("b", AT, {"outcome": "answered"}), head)[0]
    with pytest.raises(ChainError, match="does not continue") as caught:
        verify(lines)
    assert caught.value.line == 3


def test_a_noted_head_shows_what_the_chain_cannot() -> None:
    lines = _chain([("a", {}), ("b", {}), ("c", {})])
    noted = verify(lines).head
    assert verify(lines, noted=noted).seen
    longer = [*lines, *_chain([("d", {})], noted)]
    assert verify(longer, noted=noted).seen
    assert not verify(lines[:2], noted=noted).seen, "the end was cut off"
    assert not verify(_chain([("a", {}), ("x", {}), ("c", {})]), noted=noted).seen, "the whole log was rewritten"
    assert Head.parse(str(noted)) == noted
    with pytest.raises(ValueError, match="NUMBER:SHA256"):
        Head.parse("3")


def test_a_first_entry_must_begin_the_chain() -> None:
    line, _ = to_line(Entry("a", AT, {}), Head(0, "1" * 64))
    with pytest.raises(ChainError, match="does not continue"):
        verify([line])


def test_a_torn_last_line_is_no_entry_and_no_fault() -> None:
    lines = _chain([("a", {}), ("b", {})])
    for cut in range(1, len(lines[1])):
        verdict = verify([lines[0], lines[1][:cut]])
        assert (verdict.num_entries, verdict.torn_bytes) == (1, cut)
    with pytest.raises(ChainError) as caught:
        verify([lines[0][:-1], lines[1]])
    assert caught.value.line == 1


def test_times_are_utc_whatever_the_clocks_zone() -> None:
    there = AT.astimezone(timezone(timedelta(hours=5)))
    assert json.loads(to_line(Entry("a", there, {}), EMPTY)[0])["at"] == "2026-01-01T12:00:00.000000Z"
