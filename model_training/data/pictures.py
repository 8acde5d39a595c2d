"""Sets of labelled images before they are decoded, and what a source of sets is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from service.bundle import DiagnosisClass

# How many problems of a set an error lists.
MOST_PROBLEMS = 20


class DatasetError(ValueError):
    """A set cannot be used as it is; the text names files, rows or ids and says what to do."""


@dataclass(frozen=True)
class Sample:
    """One image; ``label`` is the index of its class in the set's ``classes``."""

    id: str
    picture: Path
    mask: Path | None
    label: int
    # Images of one group (a patient, a lesion) stay on one side of every split; None: a group of its own.
    group: str | None = None
    # Where it is listed, in errors: the table and the row.
    listed: str | None = None


@dataclass(frozen=True)
class PictureSet:
    """One set, and the ids whose image or mask is missing."""

    name: str
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    missing_pictures: tuple[str, ...]
    missing_masks: tuple[str, ...]


class Source(Protocol):
    """Where sets come from."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its sets."""

    def classes(self, name: str, /) -> tuple[DiagnosisClass, ...]:
        """The classes of the set ``name``, in the order of its labels."""

    def read(self, name: str, /, *, allow_missing: bool) -> PictureSet:
        """The set ``name``.

        With ``allow_missing``, ids without an image are left out, and masks may be missing; otherwise both raise
        :class:`DatasetError`, as does everything else that is wrong with the set.
        """


def listed(title: str, problems: Sequence[str]) -> str:
    """An error's text: ``MOST_PROBLEMS`` of the problems, one a line, and how many more there are."""
    more = len(problems) - MOST_PROBLEMS
    rest = [f"... and {more} more"] if more > 0 else []
    return "\n  ".join([f"{title}:", *problems[:MOST_PROBLEMS], *rest])
