"""The text at the bottom of the pictures of a live run.

status_line("LIVE", (), age_ms=41.2)     # "LIVE   mask 41 ms"
"""

from __future__ import annotations

from collections.abc import Sequence


def status_line(state: str, reasons: Sequence[str], *, age_ms: float | None) -> str:
    """State, age of the mask and the worst reason; without an age there is no mask."""
    parts = [state, "no mask" if age_ms is None else f"mask {age_ms:.0f} ms", *reasons[:1]]
    return "   ".join(parts)
