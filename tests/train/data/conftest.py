"""The kit lies beside the tests, which are no package."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small copy of every known set; not to be changed."""
    import layouts

    root = tmp_path_factory.mktemp("sets")
    return {name: write(root / name.replace(" ", "_")) for name, write in layouts.EVERY.items()}
