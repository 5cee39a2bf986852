"""The true instruments of a labelled film, located as the runtime locates them.

truth = located_truth(mask, instances, table, label_size=(192, 256))

Each instance is located alone, at the size of the frame, so that its tips and its entry are those
that `trocar.runtime.locate` finds on a perfect mask.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from helpers.films.masks import Mask, shrink_labels
from numpy.typing import NDArray

from trocar.contract.classes import IGNORE_INDEX, ClassTable
from trocar.contract.errors import DataError
from trocar.contract.media.pictures import IMAGE_SUFFIXES
from trocar.contract.results import Instrument, Point
from trocar.runtime.locate.instruments import locate
from trocar.runtime.sources.base import Frame
from trocar.runtime.sources.open import open_source
from trocar.train.data.sample import FrameSet, Item

MIN_AREA = 0.0005
"""Smallest true instrument, as a fraction of the frame; smaller ones are not expected."""

_TIP_PARTS = ("clasper", "jaw", "tip")


@dataclass(frozen=True, kw_only=True)
class Film:
    """A film of a set, with the items of its labelled frames by frame number."""

    name: str
    frames: FrameSet
    items: dict[int, Item]

    def decoded(self) -> Iterator[Frame]:
        """The film's frames, as `trocar run` decodes them."""
        first = next(iter(self.items.values()))
        if first.image.suffix.lower() in IMAGE_SUFFIXES:
            for number, item in self.items.items():
                image = self.frames.read(item).image
                yield Frame(image=image, index=number, time=number / 25, captured_ns=0)
            return
        source = open_source(first.image)
        try:
            yield from source.frames()
        finally:
            source.close()


def films_of(frames: FrameSet) -> list[Film]:
    """The films of a set: one for each group, in order of time.

    Raises:
        DataError: The set has no instances or no groups.
    """
    if frames.instances is None or not frames.groups:
        raise DataError(
            f"{frames.root} ({frames.name}) has no instances or no films",
            remedy="name a set of films with instances, e.g. EndoVis 2015 robotic",
        )
    films = []
    for group in frames.groups:
        items = [item for item in frames if item.group == group]
        numbered = {item.extra.get("frame", n): item for n, item in enumerate(items)}
        films.append(Film(name=group, frames=frames, items=numbered))
    return films


@dataclass(frozen=True, kw_only=True)
class TrueInstrument:
    """A true instrument in one frame.

    Attributes:
        number: Its instance number; the same in every frame of the film.
        mask: ``[h, w]`` at the size of the label map.
        tips: Tips on the true mask, in frame pixels; may be empty.
        entry: Entry on the true mask, in frame pixels.
    """

    number: int
    mask: Mask
    tips: tuple[Point, ...]
    entry: Point | None


def joined_table(table: ClassTable) -> ClassTable:
    """The table with one type for all rows, so that parts join; what ends it carries the tips."""
    ends = any(row.part in _TIP_PARTS for row in table)
    last = "manipulator" if any(row.part == "manipulator" for row in table) else "wrist"
    rows = []
    for row in table:
        if not row.instrument:
            rows.append(row)
            continue
        part = "tip" if row.part == last and not ends else row.part
        rows.append(replace(row, type="instrument" if part else row.type, part=part))
    return ClassTable(tuple(rows))


def located_truth(
    mask: NDArray[np.uint8],
    instances: NDArray[np.unsignedinteger[Any]],
    table: ClassTable,
    *,
    label_size: tuple[int, int],
) -> list[TrueInstrument]:
    """The true instruments of a frame; ``table`` is that of `joined_table`."""
    is_instrument = np.array([row.instrument for row in table])
    known = np.where(mask == IGNORE_INDEX, 0, mask)
    small = shrink_labels(instances, label_size)
    result = []
    for number in np.unique(instances[instances > 0]).tolist():
        own = np.where((instances == number) & is_instrument[known], known, 0).astype(np.uint8)
        if np.count_nonzero(own) < max(16, MIN_AREA * own.size):
            continue
        located: list[Instrument] = sorted(
            locate(own, None, table, (own.shape[0], own.shape[1])), key=lambda one: -one.area
        )
        result.append(
            TrueInstrument(
                number=number,
                mask=small == number,
                tips=located[0].tips if located else (),
                entry=located[0].entry if located else None,
            )
        )
    return result


def open_films(folder: Path, names: list[str] | None = None) -> list[Film]:
    """The films of a folder that any reader recognises.

    Raises:
        DataError: It has no films with instances, or no film of such a name.
    """
    from trocar.train.data.readers import open_frames

    films = films_of(open_frames(folder))
    unknown = sorted(set(names or ()) - {film.name for film in films})
    if unknown:
        raise DataError(
            f"{folder} has no film {', '.join(unknown)}",
            remedy="choose of " + ", ".join(film.name for film in films),
        )
    return [film for film in films if not names or film.name in names]
