"""Prints the folders of the repository with their files and lines, or updates CONTRIBUTING.md.

python scripts/print_tree.py
python scripts/print_tree.py --write
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
_TEXT = {
    ".c", ".cff", ".cmake", ".cpp", ".css", ".cu", ".cuh", ".h", ".hpp", ".html", ".in", ".js",
    ".map", ".md", ".py", ".sh", ".toml", ".txt", ".yaml", ".yml",
}  # fmt: skip
_PACKAGES = ("contract", "train", "export", "runtime", "cuda_kernels", "trocar")
# The other folders, and those of C++, are one row each.
_WHOLE = ("benchmarks", "docs", "runtime/cpp", "scripts", "tests")
_ROW = re.compile(r"^\| `([^`]+)/` +\| *(\d+) \|", re.MULTILINE)


def folders() -> dict[str, int]:
    """Lines of code and text in each folder of the packages; other folders in one sum each."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    lines: dict[str, int] = defaultdict(int)
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        folder = _folder(name)
        if folder and path.is_file() and not path.is_symlink() and path.suffix in _TEXT:
            text = path.read_text(encoding="utf-8", errors="ignore")
            lines[folder] += len(text.splitlines())
    return dict(sorted(lines.items()))


def _folder(name: str) -> str:
    for whole in _WHOLE:
        if name.startswith(f"{whole}/"):
            return whole
    parent = str(Path(name).parent)
    return parent if parent.split("/")[0] in _PACKAGES else ""


def rows_of(text: str) -> dict[str, int]:
    """The folders and lines of the table in CONTRIBUTING.md."""
    return {name: int(lines) for name, lines in _ROW.findall(text)}


def updated(text: str) -> str:
    """The text with the lines of today, rounded to tens; rows are added and removed by hand."""
    today = folders()

    def row(found: re.Match[str]) -> str:
        lines = today.get(found[1], 0)
        return found[0].replace(f"{found[2]:>5} |", f"{round(lines, -1):>5} |")

    return _ROW.sub(row, text)


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        CONTRIBUTING.write_text(updated(CONTRIBUTING.read_text("utf-8")), encoding="utf-8")
    else:
        for name, lines in folders().items():
            print(f"{lines:6} {name}/")
