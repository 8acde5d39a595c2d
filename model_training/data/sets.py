"""All sets that an experiment can name: those of its tables, and the official ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from model_training.config import SPLITS, DataConfig
from model_training.data.isic import OfficialSets
from model_training.data.pictures import DatasetError, PictureSet, Source
from model_training.data.table import Table
from service.bundle import DiagnosisClass


@dataclass(frozen=True)
class Sets:
    """The sets below the folder ``root`` under the configuration ``data``; raises :class:`DatasetError`."""

    root: Path
    data: DataConfig

    @cached_property
    def sources(self) -> tuple[Source, ...]:
        """The official sets first."""
        tables = self.data.tables.items()
        return (OfficialSets(self.root), *(Table(name, self.root / file, self.data.classes) for name, file in tables))

    def read(self, name: str, *, allow_missing: bool | None = None) -> PictureSet:
        """The set ``name``, without its missing files if that is allowed; by default, as the configuration says."""
        allowed = self.data.allow_missing if allow_missing is None else allow_missing
        return self._source(name).read(name, allow_missing=allowed)

    def classes(self, name: str) -> tuple[DiagnosisClass, ...]:
        """The classes of the set ``name``, in the order of its labels; reads no file."""
        return self._source(name).classes(name)

    def _source(self, name: str) -> Source:
        for source in self.sources:
            if name in source.names:
                return source
        official, *tables = self.sources
        known = [*official.names, *(f"{own.names[0]} or {own.names[0]}-{'/'.join(SPLITS)}" for own in tables)]
        raise DatasetError(f"there is no set {name!r}; the sets are: {', '.join(known)}; data.tables adds your own")
