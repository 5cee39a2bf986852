"""Fixtures of the classification methods, for checkpoints of all methods."""

from __future__ import annotations

from photo_fixtures import make_classifier

__all__ = ["make_classifier"]
