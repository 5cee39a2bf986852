"""Class tables: name, colour and kind of each label value of a mask.

table = ClassTable.read("classes.toml")
table["grasper"].id, table.colours[labels]
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import DataError
from trocar.contract.text.toml import read_toml

IGNORE_INDEX = 255
"""Label value of pixels that losses and metrics ignore."""

MAX_CLASSES = 255

# Okabe and Ito's colour-blind-safe palette, followed by five colours that are as far from it and
# from each other for readers with protanopia and deuteranopia, and far from tissue.
_PALETTE = (
    (0, 114, 178),
    (230, 159, 0),
    (0, 158, 115),
    (204, 121, 167),
    (86, 180, 233),
    (213, 94, 0),
    (240, 228, 66),
    (180, 255, 255),
    (0, 0, 255),
    (240, 255, 180),
    (90, 120, 255),
    (45, 30, 180),
)


@dataclass(frozen=True, kw_only=True)
class ClassRow:
    """One class.

    Attributes:
        id: Label value in masks and label maps, 0..254, dense from 0; 0 is the background of
            segmentation tables.
        name: Unique, not empty.
        colour: RGB, each 0..255, for overlays and for reading colour-coded masks.
        grey: Grey value 0..255 of the class in the texture loss; ``None`` for the id.
        instrument: Whether connected regions of it are located as instruments.
        type: Instrument type, e.g. ``"grasper"``; empty if not stated.
        part: Instrument part, e.g. ``"shaft"``; empty if not stated.
    """

    id: int
    name: str
    colour: tuple[int, int, int]
    grey: int | None = None
    instrument: bool = False
    type: str = ""
    part: str = ""

    @property
    def grey_value(self) -> int:
        """``grey``, or the id if it is ``None``."""
        return self.id if self.grey is None else self.grey


@dataclass(frozen=True)
class ClassTable:
    """An ordered, dense table of classes: row ``i`` has id ``i``.

    Raises:
        DataError: ids are not 0..K-1, names repeat, or a value is out of range; all faults at once.
    """

    rows: tuple[ClassRow, ...]

    def __post_init__(self) -> None:
        faults = _faults(self.rows)
        if faults:
            raise DataError(
                "the class table is invalid: " + "; ".join(faults),
                remedy="give each class one row with id 0..K-1, a unique name and values 0..255",
            )

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[ClassRow]:
        return iter(self.rows)

    def __getitem__(self, key: int | str) -> ClassRow:
        if isinstance(key, str):
            for row in self.rows:
                if row.name == key:
                    return row
            raise KeyError(key)
        return self.rows[key]

    @property
    def names(self) -> tuple[str, ...]:
        """Names in order of id."""
        return tuple(row.name for row in self.rows)

    @property
    def colours(self) -> NDArray[np.uint8]:
        """``[256, 3]`` uint8 RGB look-up table; values without a class are black."""
        lut = np.zeros((256, 3), dtype=np.uint8)
        for row in self.rows:
            lut[row.id] = row.colour
        return lut

    @property
    def greys(self) -> tuple[int, ...]:
        """Grey value of each class in order of id."""
        return tuple(row.grey_value for row in self.rows)

    @property
    def instrument_ids(self) -> tuple[int, ...]:
        """Ids of the classes that are located as instruments."""
        return tuple(row.id for row in self.rows if row.instrument)

    @classmethod
    def from_names(
        cls, names: Iterable[str], *, instruments: Iterable[str] | None = None
    ) -> ClassTable:
        """Makes a table from names, with colours from a colour-blind-safe palette.

        Args:
            names: In order of id; the first is the background of a segmentation table.
            instruments: Names located as instruments; by default all but the first.
        """
        listed = list(names)
        chosen = set(listed[1:] if instruments is None else instruments)
        return cls(
            tuple(
                ClassRow(id=i, name=name, colour=default_colour(i), instrument=name in chosen)
                for i, name in enumerate(listed)
            )
        )

    @classmethod
    def from_dicts(cls, rows: Iterable[Mapping[str, Any]]) -> ClassTable:
        """Reads rows of a manifest or of ``classes.toml``; unknown fields are ignored.

        Raises:
            DataError: A row lacks ``id`` or ``name``, or a value has the wrong type.
        """
        table_rows: list[ClassRow] = []
        for index, row in enumerate(rows):
            try:
                table_rows.append(_row_from_dict(row))
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(
                    f"row {index} of the class table is invalid: {str(row)[:200]} ({error})",
                    remedy="a row needs id (integer), name (text) and, if given, colour [r, g, b]",
                ) from error
        return cls(tuple(table_rows))

    def to_dicts(self) -> list[dict[str, Any]]:
        """Rows as dictionaries for JSON and TOML; ``None`` values are left out."""
        return [
            {
                key: list(value) if isinstance(value, tuple) else value
                for key, value in asdict(row).items()
                if value is not None
            }
            for row in self.rows
        ]

    @classmethod
    def read(cls, path: str | Path) -> ClassTable:
        """Reads ``classes.toml``, which has one ``[[classes]]`` table per row.

        Raises:
            DataError: The file is missing, is not TOML, or has no valid class table.
        """
        rows = read_toml(path).get("classes")
        if not isinstance(rows, list) or not rows:
            raise DataError(
                f"{path} has no class table",
                remedy='write one [[classes]] block per class, e.g. id = 0 and name = "background"',
            )
        try:
            return cls.from_dicts(rows)
        except DataError as error:
            raise DataError(f"{path}: {error.message}", remedy=error.remedy) from error

    def write(self, path: str | Path) -> None:
        """Writes the table as ``classes.toml``, for `read`."""
        import tomli_w

        text = tomli_w.dumps({"classes": self.to_dicts()})
        Path(path).write_text(text, encoding="utf-8")

    def with_greys_from_colours(self) -> ClassTable:
        """A copy of the table with grey values computed from the colours (Rec. 601 luma).

        Warns if two classes get equal values: the texture loss then merges them.
        """
        rows = tuple(
            replace(row, grey=round(float(np.dot((0.299, 0.587, 0.114), row.colour))))
            for row in self.rows
        )
        seen: dict[int, str] = {}
        for row in rows:
            other = seen.setdefault(row.grey_value, row.name)
            if other != row.name:
                warnings.warn(
                    f"classes {other!r} and {row.name!r} have the same grey value "
                    f"{row.grey_value}: the texture loss merges them",
                    stacklevel=2,
                )
        return ClassTable(rows)


def default_colour(index: int) -> tuple[int, int, int]:
    """RGB colour of the palette for a class id; black for 0."""
    return (0, 0, 0) if index == 0 else _PALETTE[(index - 1) % len(_PALETTE)]


def _row_from_dict(row: Mapping[str, Any]) -> ClassRow:
    if isinstance(row["id"], bool) or not isinstance(row["id"], int):
        raise TypeError(f"id must be an integer, got {row['id']!r}")
    if not isinstance(row["name"], str):
        raise TypeError(f"name must be text, got {row['name']!r}")
    colour, grey = row.get("colour", default_colour(row["id"])), row.get("grey")
    whole = [*colour, *([] if grey is None else [grey])]
    if any(isinstance(v, bool) or not isinstance(v, int) for v in whole):
        raise TypeError(f"colour and grey must be whole numbers, got {whole}")
    for key, kind in (("instrument", bool), ("type", str), ("part", str)):
        if key in row and not isinstance(row[key], kind):
            named = "true or false" if kind is bool else "text"
            raise TypeError(f"{key} must be {named}, got {row[key]!r}")
    r, g, b = colour
    return ClassRow(
        id=row["id"],
        name=row["name"],
        colour=(r, g, b),
        grey=grey,
        instrument=row.get("instrument", False),
        type=row.get("type", ""),
        part=row.get("part", ""),
    )


def _faults(rows: tuple[ClassRow, ...]) -> list[str]:
    faults: list[str] = []
    if not rows:
        return ["it has no rows"]
    if len(rows) > MAX_CLASSES:
        faults.append(f"it has {len(rows)} classes, {MAX_CLASSES} at most fit a uint8 label")
    ids = [row.id for row in rows]
    if ids != list(range(len(rows))):
        faults.append(
            f"ids are {ids[:12]}, expected 0..{len(rows) - 1} in order (where masks hold other "
            f'values, map them in dataset.toml: [values] {ids[-1]} = "{rows[-1].name}")'
        )
    seen: set[str] = set()
    for row in rows:
        if not row.name.strip() or re.search(r"[\x00-\x1f]", row.name):
            faults.append(f"class {row.id} has an empty or unprintable name {row.name!r}")
        if row.name in seen:
            faults.append(f"name {row.name!r} is used twice")
        seen.add(row.name)
        if any(not 0 <= v <= 255 for v in row.colour) or not 0 <= row.grey_value <= 255:
            faults.append(f"class {row.name!r} has a colour or grey value outside 0..255")
    return faults
