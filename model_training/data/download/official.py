"""Official facts about the ISIC 2016 and ISIC 2017 challenges: addresses, file names, counts, known overlaps.

The organisers publish no checksums. The MD5 sums are from public code for the same addresses, each from two or more
sources that agree (dm_nevis by Google DeepMind is one); those of the 2017 tables were confirmed on the files.
Files without an MD5 sum are only compared with their first download.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import MappingProxyType

BASE_URL = "https://isic-challenge-data.s3.amazonaws.com"


@dataclass(frozen=True)
class OfficialFile:
    """One published file; ``num_items`` is how many images, masks or table rows it holds."""

    name: str
    num_items: int
    md5: str | None = None

    @property
    def is_archive(self) -> bool:
        """Whether the file is unpacked; tables are kept as they are."""
        return self.name.endswith(".zip")

    @property
    def folder(self) -> str:
        """The folder that the archive is unpacked into, named like it."""
        return PurePosixPath(self.name).stem


# The files needed, below BASE_URL/<year>/. Tables first: they are small, so a wrong address shows at once.
# Test_v2 is the test set that the ISIC 2017 challenge ended with.
OFFICIAL_FILES: Mapping[str, tuple[OfficialFile, ...]] = MappingProxyType(
    {
        "isic2016": (
            OfficialFile("ISBI2016_ISIC_Part3_Training_GroundTruth.csv", 900),
            OfficialFile("ISBI2016_ISIC_Part3_Test_GroundTruth.csv", 379),
            OfficialFile("ISBI2016_ISIC_Part1_Training_GroundTruth.zip", 900, "fbd77134298f3511479a37bac93109c7"),
            OfficialFile("ISBI2016_ISIC_Part1_Test_GroundTruth.zip", 379, "492a7711a2e19b96114cab6c96bd1ad5"),
            OfficialFile("ISBI2016_ISIC_Part3_Training_Data.zip", 900),
            OfficialFile("ISBI2016_ISIC_Part3_Test_Data.zip", 379),
        ),
        "isic2017": (
            OfficialFile("ISIC-2017_Training_Part3_GroundTruth.csv", 2000, "0cb4add57c65c22ca1a1cb469ad1f0c5"),
            OfficialFile("ISIC-2017_Validation_Part3_GroundTruth.csv", 150, "8d4826a76adcd8fb928ca52a23ebae4c"),
            OfficialFile("ISIC-2017_Test_v2_Part3_GroundTruth.csv", 600, "9e957b72a0c4f9e0d924889fd03b36ed"),
            OfficialFile("ISIC-2017_Training_Part1_GroundTruth.zip", 2000, "77fdbeb6fbec4139937224416b250f4c"),
            OfficialFile("ISIC-2017_Validation_Part1_GroundTruth.zip", 150, "64d3e68fa2deeb8a5e89aa8dec2efd44"),
            OfficialFile("ISIC-2017_Test_v2_Part1_GroundTruth.zip", 600, "b1742de6bd257faca3b2b21a4aa3b781"),
            OfficialFile("ISIC-2017_Validation_Data.zip", 150, "8d6419d942112f709894c0d82f6c9038"),
            OfficialFile("ISIC-2017_Training_Data.zip", 2000, "a14a7e622c67a358797ae59abb8a0b0c"),
            OfficialFile("ISIC-2017_Test_v2_Data.zip", 600, "5f6a0b5e1f2972bd1f5ea02680489f09"),
        ),
    }
)

# Images of each class, in the order of the set's classes.
CLASS_COUNTS: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "isic2016-train": (727, 173),
        "isic2016-test": (304, 75),
        "isic2017-train": (374, 254, 1372),
        "isic2017-validation": (30, 42, 78),
        "isic2017-test": (117, 90, 393),
    }
)

# Ids that two sets share, counted in the official tables; pairs that are not listed share none.
SHARED_IDS: Mapping[frozenset[str], int] = MappingProxyType(
    {
        frozenset({"isic2016-train", "isic2017-train"}): 746,
        frozenset({"isic2016-test", "isic2017-train"}): 305,
        frozenset({"isic2016-train", "isic2017-validation"}): 3,
    }
)
