"""A small copy of every known set."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small copy of every known set; not to be changed."""
    import layouts

    root = tmp_path_factory.mktemp("sets")
    return {name: write(root / name.replace(" ", "_")) for name, write in layouts.EVERY.items()}
