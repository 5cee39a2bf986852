"""Phantom surgical scenes: synthetic frames with exact ground truth.

write_phantom(Path("phantom"), PhantomConfig(frames=100), video=True)
"""

from trocar.train.data.phantom.config import (
    INSTRUMENT_TYPES,
    PARTS,
    PHANTOM_DOMAINS,
    PhantomConfig,
    PhantomFrame,
    Tip,
    parts_table,
    phantom_table,
)
from trocar.train.data.phantom.scene import phantom_frames
from trocar.train.data.phantom.writer import write_phantom

__all__ = [
    "INSTRUMENT_TYPES",
    "PARTS",
    "PHANTOM_DOMAINS",
    "PhantomConfig",
    "PhantomFrame",
    "Tip",
    "parts_table",
    "phantom_frames",
    "phantom_table",
    "write_phantom",
]
