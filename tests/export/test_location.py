"""The manifest of an exported model states what counts as an instrument."""

from __future__ import annotations

from dataclasses import replace

import pytest
from export_helpers import manifest_of

from trocar.contract.errors import ConfigError
from trocar.contract.location import LEGACY, LocationOptions
from trocar.export.location import with_location


def test_a_new_model_gets_the_defaults_and_the_changes() -> None:
    manifest = manifest_of()
    assert with_location(manifest, {}, otherwise=LocationOptions()).location == LocationOptions()
    changed = with_location(manifest, {"min_area": 0.01}, otherwise=LocationOptions())
    assert changed.location == LocationOptions(min_area=0.01)
    assert with_location(changed, {"border": 4}, otherwise=None).location == LocationOptions(
        min_area=0.01, border=4
    )


def test_a_bundle_of_version_0_1_keeps_what_it_did() -> None:
    manifest = manifest_of()
    assert with_location(manifest, {}, otherwise=None).location is None
    changed = with_location(manifest, {"min_score": 0.5}, otherwise=None)
    assert changed.location == replace(LEGACY, min_score=0.5)


def test_wrong_options_and_classifiers_are_refused() -> None:
    manifest = manifest_of()
    for changes in ({"min_area": -1}, {"min_are": 1}, {"classes": ["hok"]}):
        with pytest.raises(ConfigError):
            with_location(manifest, changes, otherwise=LocationOptions())
    classifier = replace(manifest, task="classification")
    assert with_location(classifier, {}, otherwise=LocationOptions()).location is None
    with pytest.raises(ConfigError, match="is a classifier and locates nothing"):
        with_location(classifier, {"min_area": 0.1}, otherwise=LocationOptions())
