"""The parts of an overlay that can be shown, and how people name them.

show = show_from("masks,contours,ids")
"""

from __future__ import annotations

from collections.abc import Sequence

from trocar.contract.config import unknown
from trocar.contract.errors import ConfigError

PARTS = ("masks", "contours", "boxes", "labels", "tips", "ids")
"""Tinted regions; their contours; boxes; class and score; tips; track numbers."""

DEFAULT_SHOW = PARTS

NONE = "none"


def show_from(text: str) -> tuple[str, ...]:
    """Reads a list of parts.

    Args:
        text: Parts of `PARTS`, divided by commas, or ``none``.

    Returns:
        The parts in the order of `PARTS`, each once.

    Raises:
        ConfigError: An unknown part, ``none`` beside others, or nothing at all.
    """
    words = [word.strip().lower() for word in text.split(",")]
    if words == [NONE]:
        return ()
    faults = show_faults(words)
    if faults:
        raise ConfigError(
            "; ".join(faults), remedy=f"list some of {','.join(PARTS)}, or say {NONE}"
        )
    return tuple(part for part in PARTS if part in words)


def show_faults(words: Sequence[str]) -> list[str]:
    """What is wrong with a list of parts; empty if nothing is."""
    if NONE in words:
        return [f"show is {','.join(words)!r}, expected {NONE!r} alone or parts without it"]
    return [f"show: {unknown(word, PARTS)}" for word in words if word not in PARTS]
