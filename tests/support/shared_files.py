"""Files that are slow to make, made once for all processes of a test run.

path = made_once(tmp_path_factory, "tail.trocar", make)     # calls make(path) unless it is there
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def shared_folder(factory: pytest.TempPathFactory, name: str) -> Path:
    """A folder of that name that all processes of the test run have in common."""
    base = factory.getbasetemp()
    # With several processes, each has a folder of its own in that of the run.
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A file or folder that no test may change; the first process that needs it makes it.

    Args:
        factory: Of the test session.
        name: The file's name.
        make: Writes it at the path that it gets.
    """
    root = shared_folder(factory, "made_once")
    path = root / name
    with FileLock(root / f"{name}.lock"):
        if not path.exists():
            with tempfile.TemporaryDirectory(dir=root) as begun:
                make(Path(begun) / name)
                (Path(begun) / name).rename(path)
    return path
