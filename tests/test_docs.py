"""The generated parts of README.md and docs/ are up to date."""

from __future__ import annotations

import re

from docs.generate import BLOCKS, filled, pages
from tests.paths import REPOSITORY


def test_generated_parts_are_up_to_date() -> None:
    """After ``make docs`` nothing changes, and every block is on a page."""
    texts = [page.read_text(encoding="utf-8") for page in pages()]
    assert [page.name for page, text in zip(pages(), texts, strict=True) if filled(text) != text] == []
    assert [name for name in BLOCKS if not any(f"<!-- generated: {name} -->" in text for text in texts)] == []


def _anchor(heading: str) -> str:
    """What a heading's link is called on GitHub."""
    return re.sub(r"[^\w\- ]", "", heading.lstrip("#").strip().lower()).replace(" ", "-")


def test_links_lead_to_headings_that_are_there() -> None:
    texts = {
        path: path.read_text(encoding="utf-8") for path in (*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md"))
    }
    headings = {
        path: {_anchor(line) for line in text.splitlines() if line.startswith("#")} for path, text in texts.items()
    }
    links = [
        (path, file, anchor)
        for path, text in texts.items()
        for file, anchor in re.findall(r"\]\(([^)#\s:]*)#([^)]+)\)", text)
    ]
    assert len(links) > 20
    assert [
        (path.name, file, anchor)
        for path, file, anchor in links
        if anchor not in headings[(path.parent / file).resolve() if file else path]
    ] == []
