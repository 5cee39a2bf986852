"""Licences as people state them: which forbid commercial use, and where a bundle keeps them.

licences_of(manifest.source)             # {"weights": "CC-BY-NC-4.0", "data": "CC0-1.0"}
licence_warnings({"weights": "CC-BY-NC-4.0"})
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

LICENCES = "licences"
"""Member of a manifest's ``source``: licence by what it is of, `WHAT`."""

WHAT = {"weights": "the first weights", "data": "the training data"}

_NON_COMMERCIAL = re.compile(
    r"\bNC\b|non[- ]?commercial|(?:research|academic|educational)(?: use| purposes?)?[- ]only"
    r"|only for (?:research|academic)|(?:research|academic) purposes|not for commercial",
    re.IGNORECASE,
)


def is_non_commercial(text: str) -> bool:
    """Whether a licence, by its SPDX name or in words, forbids commercial use."""
    return _NON_COMMERCIAL.search(text) is not None


def licences_of(source: Mapping[str, Any]) -> dict[str, str]:
    """Stated licences of a manifest's or checkpoint's ``source``; older ones state none."""
    stated = source.get(LICENCES)
    if not isinstance(stated, Mapping):
        return {}
    return {name: str(stated[name]) for name in WHAT if stated.get(name)}


def licence_warnings(licences: Mapping[str, str]) -> list[str]:
    """One sentence for each licence that forbids commercial use."""
    return [
        f"{WHAT[name]} are under {text!r}, which forbids commercial use; a model made from them "
        "may be bound by it"
        for name, text in licences.items()
        if is_non_commercial(text)
    ]
