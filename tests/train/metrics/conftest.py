"""Photographs and classifiers for the tests of this folder."""

from photo_fixtures import *  # noqa: F403 - its __all__ lists the fixtures
