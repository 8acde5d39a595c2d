"""Prints the audit on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from model_training.data.audit.audit import AuditReport, SetReport, pairs_of_sets

# Number of findings printed of each kind; the JSON file has all.
SHOWN = 10


def print_audit(report: AuditReport, console: Console) -> None:
    """Print tables of the sets and of the images they share, then the findings one by one."""
    console.print(_sets_table(report.sets))
    for each in report.sets:
        if each.status != "read":
            console.print(f"{each.name} is {each.status}: {each.detail}", highlight=False, markup=False)
        _list(console, f"{each.name}: images missing", each.missing_pictures)
        _list(console, f"{each.name}: masks missing", each.missing_masks)
        _list(console, f"{each.name}: files that cannot be used as they are", each.problems)
    console.print("images that sets share; bytes and look are counted under other ids only:")
    console.print(_pairs_table(report))
    for by_bytes, title in ((True, "the same file under several ids"), (False, "look alike, other bytes")):
        found = [c for c in report.copies if c.same_bytes == by_bytes]
        lines = [" = ".join(c.places) + ("" if by_bytes else f" (correlation {c.correlation:.3f})") for c in found]
        _list(console, title, lines)
    lines = [f"{c.first} {c.first_diagnosis}, {c.second} {c.second_diagnosis} (same {c.by})" for c in report.conflicts]
    _list(console, "contradicting labels", lines)


def _list(console: Console, title: str, lines: Sequence[str]) -> None:
    if not lines:
        return
    console.print(f"{title} ({len(lines)}):", highlight=False, markup=False)
    for line in lines[:SHOWN]:
        console.print(f"  {line}", highlight=False, markup=False)
    if len(lines) > SHOWN:
        console.print(f"  ... and {len(lines) - SHOWN} more; --out writes them all", highlight=False)


def _table(*columns: str, names: int) -> Table:
    """A table whose first ``names`` columns are names of sets, which are never cut."""
    table = Table()
    for number, column in enumerate(columns):
        table.add_column(column, no_wrap=number < names, justify="left" if number < names else "right")
    return table


def _sets_table(sets: Sequence[SetReport]) -> Table:
    table = _table("set", "pictures", "masks", "classes", "official", "problems", names=1)
    for each in sets:
        if each.status == "read":
            total = sum(each.official_class_counts)
            counts, official = " / ".join(map(str, each.class_counts)), " / ".join(map(str, each.official_class_counts))
            pictures, masks = f"{each.pictures} of {total}", f"{each.masks} of {total}"
            table.add_row(each.name, pictures, masks, counts, official, str(len(each.problems)))
        else:
            table.add_row(each.name, each.status)
    return table


def _pairs_table(report: AuditReport) -> Table:
    official = {(shared.first, shared.second): shared.official for shared in report.shared_ids}
    table = _table("set", "and", "same id", "official", "same bytes", "look alike", names=2)
    for first, second, by_id, by_bytes, by_look in pairs_of_sets(report):
        known = "" if first == second else str(official.get((first, second), 0))
        table.add_row(first, second, str(by_id), known, str(by_bytes), str(by_look))
    return table
