"""Folders stay small, and CONTRIBUTING.md shows them all."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import PurePosixPath
from types import ModuleType

import pytest
from places import ROOT

PACKAGES = ("contract", "train", "export", "runtime", "cuda_kernels", "trocar")
MOST = 9
ONE_OF_A_KIND = {
    "train/data/phantom": "one part of the scene a file",
    "train/data/readers": "one data set layout a file, found by file name",
    "train/methods": "one method a file, found by file name",
    "trocar/commands": "one command a file, found by file name",
}


def crowded(files: Iterable[str]) -> dict[str, int]:
    """Folders with more than `MOST` modules; ``__init__.py`` and private modules do not count."""
    counts: dict[str, int] = {}
    for name in files:
        path = PurePosixPath(name)
        if path.suffix == ".py" and not path.name.startswith("_"):
            counts[str(path.parent)] = counts.get(str(path.parent), 0) + 1
    return {folder: count for folder, count in counts.items() if count > MOST}


def modules() -> list[str]:
    files = []
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            relative = path.relative_to(ROOT)
            linked = package == "trocar" and (ROOT / "trocar" / relative.parts[1]).is_symlink()
            if not linked and "cpp" not in relative.parts:
                files.append(relative.as_posix())
    return files


def test_folders_have_nine_modules_at_most() -> None:
    found = crowded(modules())
    assert {f: n for f, n in found.items() if f not in ONE_OF_A_KIND} == {}
    assert set(ONE_OF_A_KIND) == set(found), "an exception that is not needed any more"


def test_every_folder_of_modules_is_a_package() -> None:
    """Without ``__init__.py`` a folder is missing from the wheel."""
    folders = {ROOT / name for name in modules()}
    without = {str(p.parent.relative_to(ROOT)) for p in folders} - {
        str(p.parent.relative_to(ROOT)) for p in folders if p.name == "__init__.py"
    }
    assert not without, f"no __init__.py in {sorted(without)}"


def test_a_tenth_module_is_seen() -> None:
    files = [f"train/new/m{i}.py" for i in range(MOST)] + ["train/new/__init__.py"]
    assert crowded(files) == {}
    assert crowded([*files, "train/new/one_more.py"]) == {"train/new": MOST + 1}


@pytest.fixture(scope="module")
def print_tree() -> ModuleType:
    path = ROOT / "scripts" / "print_tree.py"
    spec = importlib.util.spec_from_file_location("print_tree", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_contributing_shows_every_folder(print_tree: ModuleType) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    shown = print_tree.rows_of((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    today = print_tree.folders()
    assert list(shown) == list(today), "add or remove a row of the table in CONTRIBUTING.md"
    stale = {
        name: (lines, today[name])
        for name, lines in shown.items()
        if abs(lines - today[name]) > 100 + 0.25 * today[name]
    }
    assert not stale, f"run python scripts/print_tree.py --write: {stale}"


def test_the_table_is_updated_by_the_script(print_tree: ModuleType, monkeypatch) -> None:
    text = "| `train/` |    10 | purpose |\n| `docs/` |     5 | purpose |\n"
    assert print_tree.rows_of(text) == {"train": 10, "docs": 5}
    monkeypatch.setattr(print_tree, "folders", lambda: {"train": 1234, "docs": 6})
    assert print_tree.rows_of(print_tree.updated(text)) == {"train": 1230, "docs": 10}
