"""Joins the parts of an instrument that came apart for some frames.

    owners = owners_of_parts(found, expected, candidates, main)     # {part: main part}
    instrument = joined(instruments[0], [instruments[2]])

Glare, smoke, a thread or another instrument can cut a region in two. The part that floats lies
where the track expects the rest of its instrument. It is then no instrument of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from trocar.contract.results import Instrument, Point
from trocar.runtime.temporal.matching import CENTRE, FAR, NEAR, Shapes, to_segment

MIN_INSIDE = 0.7
"""Share of the box of a part that lies inside of the box that is expected."""


def owners_of_parts(
    found: Shapes, expected: Shapes, candidates: Sequence[int], main: Mapping[int, int]
) -> dict[int, int]:
    """Which regions are parts of which others.

    Args:
        found: Instruments of a frame.
        expected: What is expected of the tracks.
        candidates: Instruments that may be parts: they touch no border and have no track.
        main: The instrument that continues each track, by track.

    Returns:
        The main part, by part; both are positions in ``found``.
    """
    if not candidates or not main:
        return {}
    tracks = np.array(list(main), np.int64)
    parts, wholes = found.at(np.array(candidates, np.int64)), expected.at(tracks)
    size, whole_size = parts.sizes[:2, :, None], wholes.sizes[:2, None]
    gap = parts.points[CENTRE][:, None] - wholes.points[CENTRE]
    distance = np.abs(np.array([gap.real, gap.imag]))
    inside = np.clip(np.minimum(size, (size + whole_size) / 2 - distance), 0, None) / size
    aside = to_segment(parts.points[CENTRE][:, None], wholes.points[NEAR], wholes.points[FAR])
    aside /= np.maximum(wholes.sizes[3], parts.sizes[3, :, None])
    aside[parts.class_id[:, None] != wholes.class_id] = np.inf
    aside[parts.sizes[4, :, None] > wholes.sizes[4]] = np.inf
    aside[inside[0] * inside[1] < MIN_INSIDE] = np.inf
    nearest = aside.argmin(axis=1).tolist()
    return {
        part: main[int(tracks[column])]
        for row, (part, column) in enumerate(zip(candidates, nearest, strict=True))
        if aside[row, column] <= 1.0
    }


def joined(one: Instrument, parts: Sequence[Instrument]) -> Instrument:
    """One instrument of its main part and its other parts.

    Tips are those of the part that reaches farthest from the entry; areas and masks are added,
    scores and centroids are means by area.
    """
    every = (one, *parts)
    area = sum(part.area for part in every)
    corners = list(zip(*(part.box for part in every), strict=True))
    start = one.entry or one.centroid
    last = max(every, key=lambda part: math.dist(start, _end(part)))
    tips = last.tips or one.tips
    axis = one.axis
    if one.entry is not None and tips:
        end = _end(last)
        way = complex(end[0] - start[0], end[1] - start[1])
        axis = (way.real / abs(way), way.imag / abs(way)) if way else axis
    return replace(
        one,
        score=sum(part.score * part.area for part in every) / area,
        box=(min(corners[0]), min(corners[1]), max(corners[2]), max(corners[3])),
        centroid=(
            sum(part.centroid[0] * part.area for part in every) / area,
            sum(part.centroid[1] * part.area for part in every) / area,
        ),
        area=area,
        axis=axis,
        angle=math.degrees(math.atan2(axis[1], axis[0])),
        tips=tips,
        mask=None
        if one.mask is None
        else one.mask.united([part.mask for part in parts if part.mask is not None]),
    )


def _end(one: Instrument) -> Point:
    """Mean of the tips, or the centroid."""
    if not one.tips:
        return one.centroid
    return (
        sum(tip[0] for tip in one.tips) / len(one.tips),
        sum(tip[1] for tip in one.tips) / len(one.tips),
    )
