"""Every test that the page of promises names exists, and every promise names one."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from places import ROOT

PAGE = ROOT / "docs" / "guarantees.md"
NAMED = re.compile(r"`([^`\s]+\.(?:py|cpp))::(\w+)`")


def promises(text: str) -> dict[str, list[tuple[str, str]]]:
    """Promise: the tests below it, each as its file and its name."""
    found: dict[str, list[tuple[str, str]]] = {}
    for part in re.split(r"^(?=\*\*|## )", text, flags=re.MULTILINE):
        bold = re.match(r"\*\*(.+?)\.\*\*", part, re.DOTALL)
        if bold:
            found[bold[1]] = NAMED.findall(part)
    return found


def named_in(path: Path) -> set[str]:
    """Names of the test functions of a file."""
    if not path.is_file():
        return set()
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".cpp":
        return set(re.findall(r"^void (test_\w+)\(", text, re.MULTILINE))
    found = ast.parse(text).body
    return {f.name for f in found if isinstance(f, ast.FunctionDef) and f.name.startswith("test_")}


def missing(text: str) -> list[str]:
    """What the page names and nothing is; a promise without a test."""
    found = []
    for promise, tests in promises(text).items():
        if not tests:
            found.append(promise)
        found += [f"{file}::{name}" for file, name in tests if name not in named_in(ROOT / file)]
    return found


def test_every_test_of_a_promise_exists() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert len(promises(text)) > 40
    assert missing(text) == []


def test_a_test_that_is_not_there_is_seen() -> None:
    here = "tests/repo/test_guarantees.py"
    text = (
        f"**Kept.**\n\n- `{here}::test_a_test_that_is_not_there_is_seen`\n\n"
        f"**Broken.**\n\n- `{here}::test_gone`\n- `tests/repo/gone.py::test_a`\n\n"
        f"**A helper is no test.**\n\n- `{here}::missing`\n\n**Without one.**\n\n## By hand\n"
    )
    assert missing(text) == [
        f"{here}::test_gone",
        "tests/repo/gone.py::test_a",
        f"{here}::missing",
        "Without one",
    ]
