"""The repository: no path of a machine, no file that is too long, symbolic links."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from places import ROOT


def tracked() -> list[Path]:
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False, text=True
    )
    if done.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name]


def test_no_path_of_a_machine_is_committed() -> None:
    pattern = re.compile(r"(?:^|[^A-Za-z0-9_.$}])/(?:work|root|home)/[A-Za-z.]")
    for path in tracked():
        if path.is_symlink() or path.suffix in {".png", ".jpg", ".webp", ".npz", ".onnx"}:
            continue
        if not path.is_file():
            continue
        text = path.read_text(encoding="utf-8", errors="ignore")
        assert not pattern.search(text), f"{path.relative_to(ROOT)} names a path of a machine"


def test_python_files_stay_readable() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in tracked()
        if path.suffix == ".py"
        and path.is_file()
        and not path.is_symlink()
        and (lines := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert not long, f"files over 400 lines: {long}"


def test_packages_are_joined_by_relative_symlinks() -> None:
    for package in ("contract", "train", "export", "runtime", "cuda_kernels"):
        link = ROOT / "trocar" / package
        assert link.is_symlink()
        assert str(link.readlink()) == f"../{package}"
