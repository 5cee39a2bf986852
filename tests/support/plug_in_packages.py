"""Packages with entry points, as an installation leaves them, in a temporary folder.

    with installed(folder, "theatre-parts", {"a.py": "X = 1"}, {"trocar.sinks": {"x": "a:X"}}):

Nothing is installed: the folder is on the import path, and its modules are forgotten afterwards.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


def write_package(
    folder: Path,
    name: str,
    files: Mapping[str, str],
    groups: Mapping[str, Mapping[str, str]],
    *,
    version: str = "1.0",
) -> None:
    """Writes modules, and the ``.dist-info`` of the package."""
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        (folder / file).write_text(text, encoding="utf-8")
    about = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nSummary: Parts of our theatre\n"
    )
    lines = []
    for group, entries in groups.items():
        lines += [f"[{group}]", *(f"{entry} = {value}" for entry, value in entries.items())]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")


@contextmanager
def installed(
    folder: Path, name: str, files: Mapping[str, str], groups: Mapping[str, Mapping[str, str]]
) -> Iterator[Path]:
    """The package is found within the block."""
    write_package(folder, name, files, groups)
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield folder
    finally:
        sys.path.remove(str(folder))
        tops = {Path(file).stem for file in files}
        for module in set(sys.modules) - before:
            if module.partition(".")[0] in tops:
                del sys.modules[module]
