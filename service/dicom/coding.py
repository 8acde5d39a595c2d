"""Coded concepts of DICOM objects (PS3.3, 8.8), and the ones that this software defines."""

from __future__ import annotations

from typing import NamedTuple

from pydicom.dataset import Dataset

# Of this software; private designators begin with 99 (PS3.16, 8.2).
OURS = "99CIN"
_LONGEST_VALUE, _LONGEST_MEANING = 16, 64


class Code(NamedTuple):
    """A concept: its value in a coding scheme, and what it means in words."""

    value: str
    scheme: str
    meaning: str


def ours(value: str, meaning: str) -> Code:
    """A concept that this software defines."""
    return Code(value, OURS, meaning)


def item(code: Code) -> Dataset:
    """A concept as the item of a sequence; meanings are cut where DICOM has no room for more."""
    coded = Dataset()
    setattr(coded, "CodeValue" if len(code.value) <= _LONGEST_VALUE else "LongCodeValue", code.value)
    coded.CodingSchemeDesignator = code.scheme
    coded.CodeMeaning = code.meaning[:_LONGEST_MEANING]
    return coded


def read_code(coded: Dataset) -> Code:
    """The concept in the item of a sequence. Raises ``ValueError`` for an item without one."""
    value = coded.get("CodeValue") or coded.get("LongCodeValue")
    code = Code(str(value or ""), str(coded.get("CodingSchemeDesignator", "")), str(coded.get("CodeMeaning", "")))
    if not all(code):
        raise ValueError("an item without a code")
    return code
