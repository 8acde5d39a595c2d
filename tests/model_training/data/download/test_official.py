"""The official files: their sums and names."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_training.data.download.download import file_sums
from model_training.data.download.official import CLASS_COUNTS, OFFICIAL_FILES, OfficialFile
from tests.synthetic import write_isic2016, write_isic2017


@pytest.mark.data
@pytest.mark.parametrize("file", [f for f in OFFICIAL_FILES["isic2017"] if f.name.endswith(".csv")], ids=str)
def test_the_known_sums_of_the_tables(data_root: Path, file: OfficialFile) -> None:
    assert file_sums(data_root / "isic2017" / file.name).md5 == file.md5


def test_the_official_names_are_those_that_the_readers_look_for(tmp_path: Path) -> None:
    write_isic2016(tmp_path, size=32, train=2, test=2, seed=0)
    write_isic2017(tmp_path, size=32, train=3, validation=3, test=3, seed=0)
    for name, files in OFFICIAL_FILES.items():
        written = {path.name for path in (tmp_path / name).iterdir()}
        assert written == {file.folder if file.is_archive else file.name for file in files}


def test_official_counts_agree_with_the_official_files() -> None:
    words = {"train": "_Training_", "validation": "_Validation_", "test": "_Test_"}
    for name, counts in CLASS_COUNTS.items():
        challenge, _, split = name.partition("-")
        for file in OFFICIAL_FILES[challenge]:
            if words[split] in file.name:
                assert file.num_items == sum(counts), file.name
