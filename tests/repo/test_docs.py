"""Documents: links exist, prose lines are short, pictures are small."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from places import ROOT

MAX_COLUMNS = 120
DOCUMENTS = sorted(
    path.relative_to(ROOT) for pattern in ("*.md", "docs/**/*.md") for path in ROOT.glob(pattern)
)


def long_lines(text: str) -> list[int]:
    """Numbers of prose lines that are too long; tables, code and pictures cannot be broken."""
    found = []
    code = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            code = not code
        if len(line) > MAX_COLUMNS and not code and not line.startswith(("|", "![")):
            found.append(number)
    return found


def missing_links(text: str, folder: Path) -> list[str]:
    """Targets of relative links and pictures that do not exist."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", prose)
    return [target for target in targets if not (folder / target).exists()]


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_documents_are_readable_in_a_terminal(document: Path) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    assert not long_lines(text), f"lines of more than {MAX_COLUMNS} columns: {long_lines(text)}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_links_of_documents_exist(document: Path) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    assert missing_links(text, (ROOT / document).parent) == []


def test_a_long_line_and_a_missing_link_are_seen() -> None:
    long = "x" * (MAX_COLUMNS + 1)
    text = f"{long}\n| {long} |\n```\n{long}\n[a](nowhere.md)\n```\n[b](README.md) [c](gone.md#x)\n"
    assert long_lines(text) == [1]
    assert missing_links(text, ROOT) == ["gone.md"]


def test_pictures_are_small() -> None:
    for path in (ROOT / "docs").rglob("*"):
        if path.suffix in {".gif", ".jpg", ".png", ".webp"}:
            assert path.stat().st_size < 3_000_000, path.relative_to(ROOT)


def test_every_page_is_in_the_navigation() -> None:
    """`make docs` refuses it too; this says so without building the site."""
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert f" {page.name}" in navigation, f"{page.name} is not in nav of mkdocs.yml"
