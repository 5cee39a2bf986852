"""Photographs and classifiers for the tests of this folder."""

from __future__ import annotations

from photo_fixtures import (
    few_bundle,
    make_classifier,
    make_photo_run,
    open_photos,
    photo_folder,
    photo_kit,
    plain_bundle,
    seg_bundle,
    tail_bundle,
    toy_folder,
)

__all__ = [
    "few_bundle",
    "make_classifier",
    "make_photo_run",
    "open_photos",
    "photo_folder",
    "photo_kit",
    "plain_bundle",
    "seg_bundle",
    "tail_bundle",
    "toy_folder",
]
