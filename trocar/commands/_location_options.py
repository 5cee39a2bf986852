"""Flags that say what counts as an instrument, for ``trocar run`` and ``trocar export``.

@location_flags("--classes")
def command(**flags: Any) -> None: changes = location_changes(flags)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from trocar.commands._help import grouped
from trocar.contract.errors import ConfigError
from trocar.contract.location import LocationOptions, read_location

F = TypeVar("F", bound=Callable[..., Any])


def location_flags(classes: str) -> Callable[[F], F]:
    """Adds the flags.

    Args:
        classes: Name of the flag that names the instruments, since ``--classes`` may be taken.
    """
    return grouped(
        "What counts as an instrument (default: what the model states)",
        click.option(
            "--min-area",
            type=click.FloatRange(0, 1),
            metavar="X",
            help="Smallest region, as a fraction of the frame.",
        ),
        click.option(
            "--min-score",
            type=click.FloatRange(0, 1),
            metavar="X",
            help="Smallest mean confidence of an instrument.",
        ),
        click.option(
            classes,
            metavar="NAME,NAME",
            help="Instruments that are located; the others are left out.",
        ),
        click.option(
            "--max-instruments",
            type=click.IntRange(0, 65536),
            metavar="N",
            help="Largest number of instruments of a frame; 0 is no limit.",
        ),
        click.option(
            "--keep-outside-view",
            is_flag=True,
            help="Keep labels outside the round field of view.",
        ),
        click.option(
            "--location",
            type=click.Path(dir_okay=False, path_type=Path),
            metavar="FILE",
            help="TOML file with any options of location; the flags above override it.",
        ),
    )


def location_changes(flags: Mapping[str, Any]) -> dict[str, Any]:
    """The options of location that the flags change, by name; checked without a class table.

    Raises:
        ConfigError: Values out of range, names that are not known, or flags that contradict.
        DataError: The file cannot be read or is not TOML.
    """
    changes = {} if flags["location"] is None else read_location(flags["location"])
    if flags["keep_outside_view"]:
        if changes.get("mask_outside_view"):
            raise ConfigError(
                f"--keep-outside-view contradicts mask_outside_view = true in {flags['location']}",
                remedy="leave one of them out",
            )
        changes["mask_outside_view"] = False
    for name in ("min_area", "min_score", "max_instruments"):
        if flags[name] is not None:
            changes[name] = flags[name]
    # The export has a --classes of its own.
    text = flags["locate_classes"] if "locate_classes" in flags else flags["classes"]
    if text is not None:
        names = [name.strip() for name in text.split(",") if name.strip()]
        if not names:
            raise ConfigError(
                f"the names of the instruments are {text!r}, expected some",
                remedy="name them with commas between, or leave the flag out for all",
            )
        changes["classes"] = names
    LocationOptions().changed(changes, source="location")
    return changes
