"""Methods, frames and photographs for the tests of this folder."""

from __future__ import annotations

from method_subjects import make_subject, open_sets
from photo_fixtures import make_classifier, make_photo_run, open_photos, photo_kit, toy_folder

__all__ = [
    "make_classifier",
    "make_photo_run",
    "make_subject",
    "open_photos",
    "open_sets",
    "photo_kit",
    "toy_folder",
]
