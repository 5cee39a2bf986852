"""The small model of phantom instruments that the package ships, so that a demo needs no training.

path = copy_model(Path("demo"))     # demo/phantom.ckpt

`scripts/train_demo_model.py` made the file; ``phantom.json`` beside it has its recipe, scores and
SHA-256.
"""

from __future__ import annotations

import json
from pathlib import Path

from trocar.contract.bundle import sha256_of, write_atomic
from trocar.contract.errors import IntegrityError

SHIPPED = Path(__file__).parent / "phantom.ckpt"
"""The checkpoint that the package ships."""

RECORD = Path(__file__).parent / "phantom.json"
"""Its recipe, its scores on validation frames, and its SHA-256."""


def copy_model(folder: Path) -> Path:
    """Copies the shipped checkpoint into a folder that exists; returns the copy.

    Raises:
        IntegrityError: The installed file is missing, or is not the one that was shipped.
    """
    wanted = json.loads(RECORD.read_text(encoding="utf-8"))["sha256"]
    if not SHIPPED.is_file() or sha256_of(SHIPPED) != wanted:
        raise IntegrityError(
            f"{SHIPPED} is missing or was changed; its SHA-256 must be {wanted}",
            remedy="install trocar again, or train a model: trocar demo --full",
        )
    copy = folder / SHIPPED.name
    write_atomic(copy, SHIPPED.read_bytes())
    return copy
