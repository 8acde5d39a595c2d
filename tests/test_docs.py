"""The generated parts of README.md and docs/ are up to date."""

from __future__ import annotations

from docs.generate import BLOCKS, filled, pages


def test_generated_parts_are_up_to_date() -> None:
    """After ``make docs`` nothing changes, and every block is on a page."""
    texts = [page.read_text(encoding="utf-8") for page in pages()]
    assert [page.name for page, text in zip(pages(), texts, strict=True) if filled(text) != text] == []
    assert [name for name in BLOCKS if not any(f"<!-- generated: {name} -->" in text for text in texts)] == []
