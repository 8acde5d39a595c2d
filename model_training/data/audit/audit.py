"""The audit of the sets: shared images, copies, contradictory labels, missing and damaged files.

Findings are facts about the files, not errors; no predictions are read.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, combinations_with_replacement
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress as ProgressBar

from model_training.data.audit.examine import Examined, examine
from model_training.data.audit.near_duplicates import similar_pairs
from model_training.data.download.official import CLASS_COUNTS, SHARED_IDS
from model_training.data.isic import SET_NAMES, read_set
from model_training.data.pictures import DatasetError, PictureSet

MELANOMA = frozenset({"melanoma", "malignant"})


class AuditError(ValueError):
    """There is nothing to examine; the text says what to change."""


@dataclass(frozen=True)
class SetReport:
    """One set: its status, the files found, and the official counts of its classes."""

    name: str
    status: str  # read, absent or unreadable
    detail: str = ""
    pictures: int = 0
    masks: int = 0
    classes: tuple[str, ...] = ()
    class_counts: tuple[int, ...] = ()
    official_class_counts: tuple[int, ...] = ()
    missing_pictures: tuple[str, ...] = ()
    missing_masks: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class SharedIds:
    """Ids that two sets share, with or without an image file, and how many the official tables share."""

    first: str
    second: str
    ids: tuple[str, ...]
    official: int


@dataclass(frozen=True)
class Copies:
    """One image under different ids: all files with the same bytes, or two files that look alike.

    ``correlation`` and ``distance`` (bits) are between the two files; 1 and 0 for the same bytes.
    """

    places: tuple[str, ...]
    same_bytes: bool
    correlation: float = 1.0
    distance: int = 0


@dataclass(frozen=True)
class Conflict:
    """One image with two diagnoses; ``by`` says how it was recognised: id, bytes or look."""

    first: str
    first_diagnosis: str
    second: str
    second_diagnosis: str
    by: str


@dataclass(frozen=True)
class AuditReport:
    """Every finding."""

    sets: tuple[SetReport, ...]
    shared_ids: tuple[SharedIds, ...]
    copies: tuple[Copies, ...]
    conflicts: tuple[Conflict, ...]

    def to_json(self, *, command: str) -> str:
        """The report as a JSON object, indented, with the command that made it."""
        return json.dumps({"command": command, **asdict(self)}, indent=2) + "\n"


def audit_sets(root: Path, only: Sequence[str] = (), *, console: Console) -> AuditReport:
    """Examine the sets below ``root``: all, or those named in ``only`` (a set or a challenge).

    Raises :class:`AuditError` when ``only`` names no set, or none of the sets can be read.
    """
    names = [name for name in SET_NAMES if not only or name in only or name.partition("-")[0] in only]
    unknown = [name for name in only if not any(name in (n, n.partition("-")[0]) for n in SET_NAMES)]
    if unknown:
        raise AuditError(f"there is no set {unknown[0]!r}; the sets are: {', '.join(SET_NAMES)}")
    found: dict[str, PictureSet] = {}
    reports: dict[str, SetReport] = {}
    for name in names:
        try:
            found[name] = read_set(root, name, allow_missing=True)
        except DatasetError as error:
            status = "unreadable" if _table_is_there(root, name) else "absent"
            reports[name] = SetReport(name, status, str(error), official_class_counts=CLASS_COUNTS[name])
    if not found:
        raise AuditError(f"none of {', '.join(names)} can be read: {next(iter(reports.values())).detail}")
    with ProgressBar(console=console, transient=True) as bar:
        task = bar.add_task("examining images and masks", total=sum(len(s.samples) for s in found.values()))
        examined = examine(found.values(), progress=lambda: bar.advance(task))
    for name, pictures in found.items():
        reports[name] = _set_report(pictures, [e for e in examined if e.set == name])
    copies = find_copies(examined)
    return AuditReport(
        sets=tuple(reports[name] for name in names),
        shared_ids=tuple(_shared_ids(found)),
        copies=tuple(copies),
        conflicts=tuple(find_conflicts(examined, copies)),
    )


def _table_is_there(root: Path, name: str) -> bool:
    """Whether the set's table exists, so that the set is damaged rather than not downloaded."""
    challenge, _, split = name.partition("-")
    word = {"train": "_Training_", "validation": "_Validation_", "test": "_Test_"}[split]
    return any(word in table.name for table in (root / challenge).glob("*_Part3*_GroundTruth.csv"))


def _set_report(pictures: PictureSet, examined: Sequence[Examined]) -> SetReport:
    labels = [sample.label for sample in pictures.samples]
    return SetReport(
        name=pictures.name,
        status="read",
        pictures=len(labels),
        masks=sum(sample.mask is not None for sample in pictures.samples),
        classes=pictures.classes,
        class_counts=tuple(labels.count(k) for k in range(len(pictures.classes))),
        official_class_counts=CLASS_COUNTS[pictures.name],
        missing_pictures=pictures.missing_pictures,
        missing_masks=pictures.missing_masks,
        problems=tuple(problem for each in examined for problem in each.problems),
    )


def overlap(first_ids: Iterable[str], second_ids: Iterable[str]) -> tuple[str, ...]:
    """The ids that both have, in order."""
    return tuple(sorted(set(first_ids) & set(second_ids)))


def _shared_ids(found: dict[str, PictureSet]) -> Iterable[SharedIds]:
    ids = {name: [*(s.id for s in pictures.samples), *pictures.missing_pictures] for name, pictures in found.items()}
    for first, second in combinations(found, 2):
        shared, official = overlap(ids[first], ids[second]), SHARED_IDS.get(frozenset({first, second}), 0)
        if shared or official:
            yield SharedIds(first, second, shared, official)


def find_copies(examined: Sequence[Examined]) -> list[Copies]:
    """Different ids with the same bytes, then different files that look alike, most alike first."""
    by_bytes: defaultdict[str, list[Examined]] = defaultdict(list)
    for each in examined:
        if each.sha256:
            by_bytes[each.sha256].append(each)
    files = list(by_bytes.values())
    copies = [Copies(_places(file), True) for file in files if len({each.id for each in file}) > 1]
    decoded = [(file, grey) for file in files if (grey := file[0].grey) is not None]
    greys = np.stack([grey for _, grey in decoded]) if decoded else np.zeros((0, 32, 32), dtype=np.float32)
    for pair in similar_pairs(greys):
        first, second = decoded[pair.first][0], decoded[pair.second][0]
        # The same id in another size or compression is known to be one image.
        if {each.id for each in first} != {each.id for each in second}:
            copies.append(Copies(_places([*first, *second]), False, pair.correlation, pair.distance))
    return copies


def _places(pictures: Iterable[Examined]) -> tuple[str, ...]:
    return tuple(picture.place for picture in pictures)


def find_conflicts(examined: Sequence[Examined], copies: Iterable[Copies]) -> list[Conflict]:
    """Images (the same by id, bytes or look) to which the tables give different diagnoses.

    Within a challenge any two classes contradict each other; across challenges only melanoma and the other classes do.
    """
    by_place = {each.place: each for each in examined}
    by_id: defaultdict[str, list[Examined]] = defaultdict(list)
    for each in examined:
        by_id[each.id].append(each)
    same = [("id", group) for group in by_id.values()]
    same += [("bytes" if c.same_bytes else "look", [by_place[place] for place in c.places]) for c in copies]
    conflicts: dict[frozenset[str], Conflict] = {}
    for by, group in same:
        for a, b in combinations(group, 2):
            if _contradict(a, b):
                conflict = Conflict(a.place, a.diagnosis, b.place, b.diagnosis, by)
                conflicts.setdefault(frozenset({a.place, b.place}), conflict)
    return list(conflicts.values())


def _contradict(a: Examined, b: Examined) -> bool:
    if a.set.partition("-")[0] == b.set.partition("-")[0]:
        return a.diagnosis != b.diagnosis
    return (a.diagnosis in MELANOMA) != (b.diagnosis in MELANOMA)


def pairs_of_sets(report: AuditReport) -> list[tuple[str, str, int, int, int]]:
    """For every two sets (or one with itself) that share images: by id, by bytes, by look under other ids."""
    ids = {(shared.first, shared.second): len(shared.ids) for shared in report.shared_ids}
    counts: dict[tuple[str, str, bool], int] = defaultdict(int)
    order = [each.name for each in report.sets]
    for copies in report.copies:
        sets = sorted((place.partition("/") for place in copies.places), key=lambda place: order.index(place[0]))
        met = {(a[0], b[0]) for a, b in combinations(sets, 2) if a[2] != b[2]}
        for first, second in met:
            counts[first, second, copies.same_bytes] += 1
    rows = [
        (first, second, ids.get((first, second), 0), counts[first, second, True], counts[first, second, False])
        for first, second in combinations_with_replacement(order, 2)
    ]
    return [row for row in rows if any(row[2:])]
