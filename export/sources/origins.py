"""Names of the libraries whose networks can be exported.

names = origins()                # ("hf", "monai", …)
"""

from __future__ import annotations

from pathlib import Path

_ADAPTERS = Path(__file__).parent / "adapters"


def origins() -> tuple[str, ...]:
    """Names of the adapters' files, sorted; none of them is imported."""
    return tuple(sorted(path.stem for path in _ADAPTERS.glob("[a-z]*.py")))
