"""The audit log as FHIR AuditEvents: every entry, in order, with nothing of a patient."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from service.bundle import Bundle
from tests.service.audit.logs import check, entries_of
from tests.service.fhir.logs import events_of, export, used_log

Events = list[tuple[dict[str, Any], dict[str, Any]]]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the log is written once; not by this fixture, which no test's clean environment surrounds."""
    return tmp_path_factory.mktemp("used")


@pytest.fixture
def log(kept: Path, tiny_bundle: Bundle, tmp_path: Path) -> Path:
    """A copy for one test."""
    if not any(kept.iterdir()):
        used_log(tiny_bundle, kept)
    return Path(shutil.copy(kept / "audit.jsonl", tmp_path))


@pytest.fixture
def events(log: Path) -> Events:
    """The entries, each with its event."""
    return list(zip(entries_of(log), events_of(log), strict=True))


def only(events: Events, what: str, outcome: str | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    (found,) = ((e, event) for e, event in events if (e["what"], e.get("outcome")) == (what, outcome))
    return found


@pytest.mark.parametrize(
    ("what", "outcome", "pattern", "code"),
    [
        ("prediction", "answered", "Create", "0"),
        ("prediction", "unsupported-type", None, "4"),
        ("prediction-read", "done", "Read", "0"),
        ("attention-read", "done", "Read", "0"),
        ("prediction-read", "not-found", None, "4"),
        ("prediction-delete", "requested", None, "0"),
        ("prediction-delete", "done", "Delete", "0"),
        ("feedback", "done", "Create", "0"),
        ("lesion-read", "done", None, "0"),
        ("lesions-read", "done", None, "0"),
        ("worklist-read", "done", None, "0"),
        ("recalls-read", "done", None, "0"),
        ("lesion-delete", "requested", None, "0"),
        ("lesion-delete", "not-found", None, "4"),
    ],
)
def test_a_request_follows_its_pattern(events: Events, what: str, outcome: str, pattern: str | None, code: str) -> None:
    entry, event = only(events, what, outcome)
    assert (event["type"]["code"], event["outcome"], event["outcomeDesc"]) == ("rest", code, outcome)
    profiles = [p.rpartition(".")[2] for p in event.get("meta", {}).get("profile", [])]
    assert profiles == ([] if pattern is None else [pattern])
    caller, service = event["agent"]
    assert caller["who"]["identifier"] == {"system": "urn:cin:caller", "value": entry["by"]}
    assert (caller["requestor"], service["requestor"]) == (True, False)
    named = [e["what"]["identifier"] for e in event["entity"]]
    assert ({"system": "urn:cin:prediction", "value": entry.get("id")} in named) == ("id" in entry)


@pytest.mark.parametrize(
    ("what", "kind", "code"),
    [
        ("start", "110100", "0"),
        ("stop", "110100", "0"),
        ("access-refused", "110114", "4"),
        ("key-created", "110113", "0"),
        ("torn-line-cut", "110113", "0"),
        ("gap", "110113", "8"),
        ("of-a-later-version", "110113", "0"),
    ],
)
def test_other_entries_are_dicoms_events(events: Events, what: str, kind: str, code: str) -> None:
    _, event = only(events, what)
    assert (event["type"]["code"], event["outcome"]) == (kind, code)
    assert event["subtype"][-1] == {"system": "urn:cin:audit", "code": what}


def test_every_entry_has_its_event_with_its_place_in_the_chain(log: Path, events: Events) -> None:
    for entry, event in events:
        assert event["recorded"] == entry["at"]
        last = event["entity"][-1]
        assert last["what"]["identifier"] == {
            "system": "urn:cin:audit-entry",
            "value": f"{entry['seq']}:{entry['sha256']}",
        }
        told = {detail["type"]: detail["valueString"] for detail in last.get("detail", [])}
        placed = {"seq", "previous", "at", "what", "by", "id", "model", "outcome", "sha256"}
        assert told.keys() == {name for name, value in entry.items() if value not in (None, "")} - placed
    assert event["entity"][-1]["what"]["identifier"]["value"] == str(check(log).head)
    assert len({event["id"] for _, event in events}) == len(events)
    assert events_of(log) == [event for _, event in events]
    assert "Zaphod" not in json.dumps([event for _, event in events])


def test_a_log_that_was_changed_is_not_exported(log: Path) -> None:
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([*lines[:2], *lines[3:]]))
    result = export(log)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "line 3" in result.stderr


def test_a_line_that_is_being_written_is_left_out(log: Path) -> None:
    whole = events_of(log)
    with log.open("ab") as file:
        file.write(b'{"seq":')
    assert events_of(log) == whole
    assert f"{len(whole)} entries" in export(log).stderr
