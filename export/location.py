"""Writes what counts as an instrument into the manifest of a model.

manifest = with_location(manifest, {"min_area": 0.002}, otherwise=LocationOptions())
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from trocar.contract.errors import ConfigError
from trocar.contract.location import LEGACY, LocationOptions, check_for_table
from trocar.contract.manifest import Manifest


def with_location(
    manifest: Manifest, changes: Mapping[str, Any], *, otherwise: LocationOptions | None
) -> Manifest:
    """The manifest with its options of location.

    Args:
        manifest: The model's manifest.
        changes: Options that replace others, by name.
        otherwise: The options of a manifest that states none; ``None`` leaves it without them,
            unless there are changes.

    Raises:
        ConfigError: A value is out of range, a name is not known to the class table, or the model
            is a classifier, which locates nothing.
    """
    if not manifest.makes_labels:
        if changes:
            raise ConfigError(
                f"{', '.join(changes)}: {manifest.name} is a classifier and locates nothing",
                remedy="leave these options out",
            )
        return manifest
    base = otherwise if manifest.location is None else manifest.location
    if base is None and not changes:
        return manifest
    options = (base or LEGACY).changed(changes, source="location")
    check_for_table(options, manifest.classes)
    return replace(manifest, location=options)
