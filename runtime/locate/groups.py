"""Which rows of a class table form one kind of instrument.

    groups = instrument_groups(table, options)

Section 1 of ``docs/location.md``.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from trocar.contract.classes import ClassTable
from trocar.contract.location import LocationOptions, joined_type

DEFAULTS = LocationOptions()


@dataclass(frozen=True)
class Group:
    """Rows of a class table that form one kind of instrument.

    Attributes:
        class_id: Smallest class id of the rows.
        name: The common type if rows were joined, else the class name.
        ids: Class ids of the rows.
        shaft_ids: Class ids of those rows that are shafts.
        tip_ids: Class ids of those rows that end in a tip.
        else_tip_ids: Class ids of those rows that end in a tip where no tip part is seen.
    """

    class_id: int
    name: str
    ids: tuple[int, ...]
    shaft_ids: tuple[int, ...]
    tip_ids: tuple[int, ...]
    else_tip_ids: tuple[int, ...]


@functools.lru_cache(maxsize=16)
def instrument_groups(table: ClassTable, options: LocationOptions = DEFAULTS) -> tuple[Group, ...]:
    """Groups of a class table that are located, in order of their class ids.

    Rows that state a part join by their type, or by `DEFAULT_TYPE` where they state none and
    ``options.join_parts`` is set. Every other row is a group of its own.

    >>> table = ClassTable.from_names(["background", "grasper", "scissors"])
    >>> [(group.class_id, group.name) for group in instrument_groups(table)]
    [(1, 'grasper'), (2, 'scissors')]
    """
    members: dict[tuple[str, int], list[int]] = {}
    for row in table:
        if row.instrument:
            kind = joined_type(row, options)
            members.setdefault((kind, -1 if kind else row.id), []).append(row.id)
    groups = []
    for (kind, _), ids in members.items():

        def with_part(parts: tuple[str, ...], ids: list[int] = ids) -> tuple[int, ...]:
            return tuple(i for i in ids if table[i].part in parts)

        groups.append(
            Group(
                class_id=ids[0],
                name=kind or table[ids[0]].name,
                ids=tuple(ids),
                shaft_ids=with_part(options.shaft_parts),
                tip_ids=with_part(options.tip_parts),
                else_tip_ids=with_part(options.else_tip_parts),
            )
        )
    return tuple(g for g in groups if not options.classes or g.name in options.classes)
