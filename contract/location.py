"""What counts as an instrument: the options of location, their checks, and what a table lacks.

    options = LocationOptions(min_area=0.002, classes=("grasper",))
    check_for_table(options, manifest.classes)     # ConfigError for unknown names

The manifest of a segmentation model carries them as ``location``. A bundle without them, and a key
that is missing in them, has the value of `LEGACY`: what version 0.1 did. ``docs/location.md``
states every rule; the C++ runtime reads and refuses the same values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from trocar.contract.classes import ClassRow, ClassTable
from trocar.contract.config import (
    FieldSpec,
    Range,
    check_ranges,
    convert,
    fields_of,
    to_mapping,
    unknown,
)
from trocar.contract.errors import ConfigError
from trocar.contract.text.toml import read_toml

DEFAULT_TYPE = "instrument"
"""Type of the rows that state a part and no type, if such parts are joined."""

KNOWN_PARTS = ("shaft", "wrist", "manipulator", "clasper", "claspers", "jaw", "jaws", "tip")
"""Names of parts that may be stated although a class table lacks them."""

_REMEDY = "correct the named options; docs/location.md lists them"


@dataclass(frozen=True, kw_only=True)
class LocationOptions:
    """What counts as an instrument; 0 switches a rule off.

    Attributes:
        join_parts: Whether rows that state a part and no type are parts of one instrument.
        shaft_parts: Names of parts that enter the view.
        tip_parts: Names of parts that end in a tip.
        else_tip_parts: Names of parts that end in a tip where no tip part is seen.
        classes: Names of the instruments that are located; empty for all.
        min_area: Smallest region, as a fraction of the label map's pixels.
        min_pixels: Smallest region in pixels of the label map; the larger of the two limits counts.
        min_relative_area: Smallest instrument that touches no border, as a fraction of the largest
            instrument of the frame.
        min_score: Smallest mean confidence of an instrument.
        relative_score: Fraction of the best score in the frame that is enough too, for models that
            are never sure; never below two thirds of ``min_score``. Setting ``min_score`` alone
            sets it to 0.
        max_instruments: Largest number of instruments of a frame, the best by score times area.
        max_regions: Largest number of regions that are looked at, the largest ones.
        border: Width of the frame's border, in pixels of the label map.
        view_border: Width of the border of the field of view, as a fraction of its radius.
        mask_outside_view: Whether labels outside the field of view are background.
        strip_depth: Depth of strips along the border that are no instruments, as a fraction of the
            shorter side of the frame; a strip is at least three times as long as it is deep.
        max_gap: Gap of two fragments that are joined to one instrument, in widths of it.
        max_angle: Angle in degrees by which such a fragment may leave the axis.
        max_width_ratio: Ratio of the widths of two such fragments.
    """

    join_parts: bool = True
    shaft_parts: tuple[str, ...] = ("shaft",)
    tip_parts: tuple[str, ...] = ("manipulator", "clasper", "claspers", "jaw", "jaws", "tip")
    else_tip_parts: tuple[str, ...] = ("wrist",)
    classes: tuple[str, ...] = ()
    min_area: Annotated[float, Range(0, 1)] = 0.0005
    min_pixels: Annotated[int, Range(1, 2**26)] = 16
    min_relative_area: Annotated[float, Range(0, 1)] = 0.1
    min_score: Annotated[float, Range(0, 1)] = 0.6
    relative_score: Annotated[float, Range(0, 1)] = 0.75
    max_instruments: Annotated[int, Range(0, 65536)] = 0
    max_regions: Annotated[int, Range(0, 65536)] = 256
    border: Annotated[int, Range(0, 8192)] = 2
    view_border: Annotated[float, Range(0, 1)] = 0.03
    mask_outside_view: bool = True
    strip_depth: Annotated[float, Range(0, 0.5)] = 0.06
    max_gap: Annotated[float, Range(0, 100)] = 1.5
    max_angle: Annotated[float, Range(0, 90)] = 15.0
    max_width_ratio: Annotated[float, Range(1, 1000)] = 2.0

    def __post_init__(self) -> None:
        twice = sorted(set(self.shaft_parts) & {*self.tip_parts, *self.else_tip_parts})
        check_ranges(
            self,
            (
                not twice,
                f"{', '.join(twice)} is a shaft part and a tip part: a part is one of them",
            ),
        )

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> LocationOptions:
        """The options of a manifest; a missing key has its value of `LEGACY`, others are ignored.

        Raises:
            ConfigError: A value has the wrong type or is out of range, all at once.
        """
        known = {spec.name for spec in fields_of(cls)}
        return LEGACY.changed({k: v for k, v in data.items() if k in known}, source="location")

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name, for JSON and TOML."""
        return to_mapping(self)

    def changed(self, values: Mapping[str, Any], *, source: str) -> LocationOptions:
        """A copy with some options replaced; nothing is converted to another type.

        Args:
            values: New values by name, as JSON and TOML give them.
            source: Where they come from, for messages.

        Raises:
            ConfigError: Unknown names, values of a wrong type or out of range, all at once.
        """
        specs = {spec.name: spec for spec in fields_of(LocationOptions)}
        faults, made = [], {}
        for name, value in values.items():
            if name not in specs:
                faults.append(unknown(name, specs))
                continue
            fault = _type_fault(specs[name], value)
            if fault:
                faults.append(fault)
            else:
                made[name] = convert(value, specs[name])
        if "min_score" in made and "relative_score" not in values:
            made["relative_score"] = 0.0
        try:
            changed = replace(self, **made)
        except ConfigError as error:
            faults.append(error.message)
        if faults:
            raise ConfigError(f"{source}: " + "; ".join(faults), remedy=_REMEDY)
        return changed


LEGACY = LocationOptions(
    join_parts=False,
    shaft_parts=("shaft",),
    tip_parts=("clasper", "jaw", "tip"),
    else_tip_parts=(),
    classes=(),
    min_area=0.0005,
    min_pixels=16,
    min_relative_area=0.0,
    min_score=0.0,
    relative_score=0.0,
    max_instruments=0,
    max_regions=0,
    border=2,
    view_border=0.03,
    mask_outside_view=False,
    strip_depth=0.0,
    max_gap=0.0,
    max_angle=15.0,
    max_width_ratio=2.0,
)
"""What version 0.1 did: the options of a bundle without ``location``."""


def read_location(path: str | Path) -> dict[str, Any]:
    """Reads options from a flat TOML file, for `LocationOptions.changed`.

    Raises:
        DataError: The file cannot be read or is not TOML.
        ConfigError: Unknown names, values of a wrong type or out of range, all at once.
    """
    values = read_toml(path)
    LocationOptions().changed(values, source=str(path))
    return values


def check_for_table(options: LocationOptions, table: ClassTable) -> None:
    """Refuses names of instruments and parts that a class table lacks.

    Raises:
        ConfigError: ``classes`` names no instrument of the table, or a part is neither in the table
            nor one of `KNOWN_PARTS`; all at once.
    """
    names = [instrument_name(row, options) for row in table if row.instrument]
    faults = [
        f"classes: {unknown(name, names)}, expected some of {', '.join(dict.fromkeys(names))}"
        for name in options.classes
        if name not in names
    ]
    parts = [*dict.fromkeys(row.part for row in table if row.part), *KNOWN_PARTS]
    for key in ("shaft_parts", "tip_parts", "else_tip_parts"):
        faults += [
            f"{key}: {unknown(part, parts)}, expected some of {', '.join(dict.fromkeys(parts))}"
            for part in getattr(options, key)
            if part not in parts
        ]
    if faults:
        raise ConfigError("; ".join(faults), remedy="name what the class table has")


def instrument_name(row: ClassRow, options: LocationOptions) -> str:
    """Name of the instrument that a row belongs to: its type if it is a part of one, else its own.

    >>> wrist = ClassRow(id=1, name="wrist", colour=(0, 0, 0), instrument=True, part="wrist")
    >>> instrument_name(wrist, LocationOptions()), instrument_name(wrist, LEGACY)
    ('instrument', 'wrist')
    """
    return joined_type(row, options) or row.name


def joined_type(row: ClassRow, options: LocationOptions) -> str:
    """The type by which a row joins with other parts; empty if it is an instrument by itself."""
    if not row.part:
        return ""
    return row.type or (DEFAULT_TYPE if options.join_parts else "")


def notes_on_parts(table: ClassTable) -> list[str]:
    """Why parts of a table cannot join to instruments, a sentence each; empty if they can.

    >>> notes_on_parts(ClassTable.from_names(["background", "shaft", "wrist"]))[0][:48]
    'classes shaft, wrist are named like parts but st'
    """
    rows = [row for row in table if row.instrument]
    untyped = [row.name for row in rows if row.part and not row.type]
    typed = [row.name for row in rows if row.part and row.type]
    named = [
        row.name
        for row in rows
        if not row.part and row.name.strip() and row.name.lower().split()[-1] in KNOWN_PARTS
    ]
    left_out = [row.name for row in table if row.part and not row.instrument]
    notes = []
    if untyped and typed:
        notes.append(
            f"classes {_listed(untyped)} state a part but no type, {_listed(typed)} state both: "
            "they cannot join; state a type in each row with a part"
        )
    if named:
        notes.append(
            f"classes {_listed(named)} are named like parts but state no part: each is located as "
            'an instrument of its own; state part = "…" in their rows'
        )
    if left_out:
        notes.append(
            f"classes {_listed(left_out)} state a part but not instrument = true: they are not "
            "located"
        )
    return notes


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _type_fault(spec: FieldSpec, value: object) -> str:
    """Why a value of JSON or TOML is not of a field's type; empty if it is."""
    if spec.kind is bool:
        return (
            "" if isinstance(value, bool) else f"{spec.name} is {value!r}, expected true or false"
        )
    if spec.kind in (int, float):
        kinds = int if spec.kind is int else (int, float)
        word = "a whole number" if spec.kind is int else "a finite number"
        # 2**53: larger whole numbers are not in JSON either.
        if isinstance(value, bool) or not isinstance(value, kinds) or not abs(value) < 2**53:
            return f"{spec.name} is {value!r}, expected {word}"
        return ""
    if not isinstance(value, (list, tuple)):
        return f"{spec.name} is {value!r}, expected a list of names"
    if not all(isinstance(item, str) and item.strip() for item in value):
        return f"{spec.name} is {value!r}, expected a list of names"
    return f"{spec.name} names {value!r} twice" if len(set(value)) < len(value) else ""
