"""Methods with one batch of each stream, for the tests of this folder."""

from __future__ import annotations

from method_subjects import make_subject, open_sets
from photo_fixtures import toy_folder

__all__ = ["make_subject", "open_sets", "toy_folder"]
