"""Draws results on frames: coloured regions with contours, labels, boxes, tips, a legend.

    painter = Painter(table, OverlayOptions(show=("masks", "labels", "ids")))
    image = painter.draw(frame, result)      # [H, W, 3] uint8 RGB

Everything follows the size of the frame. What is drawn first is covered by what follows: regions,
boxes, leader lines, tips, labels, legend, status line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import ClassTable
from trocar.contract.config import require
from trocar.contract.results import FrameResult, Instrument
from trocar.runtime.draw.colours import BLACK, Colour, class_colours, shade_of
from trocar.runtime.draw.labels.placement import MAX_LABELS, LabelPlacer, PlacedLabel
from trocar.runtime.draw.labels.scene import Rectangle
from trocar.runtime.draw.labels.tags import draw_leader, label_wish, tag_of
from trocar.runtime.draw.legend import (
    legend_rectangle,
    legend_sprite,
    status_rectangle,
    status_sprite,
)
from trocar.runtime.draw.regions import RegionPainter, paint_classes
from trocar.runtime.draw.reported import reported_instances, reported_labels
from trocar.runtime.draw.shades import Shades
from trocar.runtime.draw.show import DEFAULT_SHOW, show_faults
from trocar.runtime.draw.sprites import Sprite, tip_sprite
from trocar.runtime.draw.text import paste

SMALL_SIDE = 10.0
"""Side of a square, in units, below which an instrument has no label, and its box is thin."""

TINY_SIDE = 4.0
"""Side of a square, in units, below which an instrument has no tip mark."""


@dataclass(frozen=True, kw_only=True)
class OverlayOptions:
    """What is drawn.

    Attributes:
        show: Parts of the drawing, of `trocar.runtime.draw.show.PARTS`; empty for none of them.
        reported_only: Whether regions of instrument classes are drawn only where the result has an
            instrument; see `trocar.runtime.draw.reported`.
        opacity: Opacity of the regions, 0..1.
        legend: Whether the legend is drawn, where regions or boxes are.
        status: Whether the status line at the bottom is drawn.
    """

    show: tuple[str, ...] = DEFAULT_SHOW
    reported_only: bool = False
    opacity: float = 0.42
    legend: bool = True
    status: bool = True

    def __post_init__(self) -> None:
        require(
            *((False, fault) for fault in show_faults(self.show)),
            (0 <= self.opacity <= 1, f"opacity is {self.opacity}, expected 0 to 1"),
        )


DEFAULTS = OverlayOptions()


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where everything stands that must not overlap, in pixels of the frame.

    Attributes:
        labels: The labels; ``wish`` is the number of the instrument.
        unlabelled: Number of instruments that have no label for lack of size or room.
        legend: The legend's rectangle; ``None`` without one.
        status: The status line's rectangle; ``None`` without one.
    """

    labels: tuple[PlacedLabel, ...] = ()
    unlabelled: int = 0
    legend: Rectangle | None = None
    status: Rectangle | None = None


class Painter:
    """Draws results of one class table, for one stream: labels keep their places over time.

    Args:
        table: Names and colours.
        options: What is drawn.
    """

    def __init__(self, table: ClassTable, options: OverlayOptions = DEFAULTS) -> None:
        self._options = options
        self._show = frozenset(options.show)
        self._table = table
        self._colours = class_colours(table)
        self._painters = {
            row.id: self._new_painter(self._colours[row.id]) for row in table.rows[1:]
        }
        self._shaded: dict[Colour, RegionPainter] = {}
        self._shades = Shades()
        self._placer = LabelPlacer()

    @property
    def show(self) -> tuple[str, ...]:
        """The parts that are drawn."""
        return self._options.show

    def showing(self, show: tuple[str, ...]) -> Painter:
        """Another painter for the same stream that draws other parts, and places its own labels.

        Raises:
            ConfigError: An unknown part.
        """
        return Painter(self._table, replace(self._options, show=show))

    def draw(
        self,
        image: NDArray[np.uint8],
        result: FrameResult | None,
        *,
        status: str = "",
        alarm: bool = False,
    ) -> NDArray[np.uint8]:
        """Draws on a copy of a frame.

        Args:
            image: ``[H, W, 3]`` uint8 RGB.
            result: Of this or an earlier frame; ``None`` to draw no result.
            status: Text of the status line; empty for none.
            alarm: Whether the status line has the warning colour.

        Returns:
            ``[H, W, 3]`` uint8 RGB.
        """
        return self.draw_with_layout(image, result, status=status, alarm=alarm)[0]

    def draw_with_layout(
        self,
        image: NDArray[np.uint8],
        result: FrameResult | None,
        *,
        status: str = "",
        alarm: bool = False,
    ) -> tuple[NDArray[np.uint8], Layout]:
        """As `draw`; says too where labels, legend and status line stand."""
        picture: NDArray[np.uint8] = image.copy()
        size = picture.shape[0], picture.shape[1]
        unit = unit_of(size)
        line = None
        if self._options.status and status:
            line = status_sprite(status, unit=unit, size=size, alarm=alarm)
        below = None if line is None else status_rectangle(line, size)
        layout = Layout(status=below)
        if result is not None:
            layout = self._result(picture, result, unit, below)
        if line is not None and below is not None:
            line.blit(picture, below[0], below[1])
        return picture, layout

    def _new_painter(self, colour: Colour) -> RegionPainter:
        tint, contour = "masks" in self._show, "contours" in self._show
        return RegionPainter(colour, self._options.opacity, tint=tint, contour=contour)

    def _colours_of(self, instruments: Sequence[Instrument]) -> list[Colour]:
        """The colour of each instrument: its class's; instances have shades of it."""
        shades = self._shades.of(instruments)
        return [
            shade_of(self._colours[one.class_id], shade)
            for one, shade in zip(instruments, shades, strict=True)
        ]

    def _result(
        self, picture: NDArray[np.uint8], result: FrameResult, unit: float, status: Rectangle | None
    ) -> Layout:
        size = picture.shape[0], picture.shape[1]
        colours = self._colours_of(result.instruments)
        rows = self._legend_rows(result, self._regions(picture, result, colours))
        tags = self._tags(result.instruments, colours, unit, size)
        legend, layout = self._arranged(result, tags, rows, unit, size, status)
        stroke = stroke_of(size)
        if "boxes" in self._show:
            for instrument, colour in zip(result.instruments, colours, strict=True):
                _draw_box(picture, instrument, colour, stroke)
        for label in layout.labels:
            if label.away:
                target = result.instruments[label.wish].centroid
                draw_leader(picture, label.rectangle, target, colours[label.wish], unit=unit)
        if "tips" in self._show:
            for instrument, colour in zip(result.instruments, colours, strict=True):
                _draw_tips(picture, instrument, colour, stroke)
        for label in layout.labels:
            paste(picture, tags[label.wish], *label.rectangle[:2])
        if legend is not None and layout.legend is not None:
            legend.blit(picture, layout.legend[0], layout.legend[1])
        return layout

    def _regions(
        self, picture: NDArray[np.uint8], result: FrameResult, colours: Sequence[Colour]
    ) -> list[int]:
        """Paints all classes but the background; gives the ids of the classes that occur."""
        labels = result.labels
        if labels is None or not self._show & {"masks", "contours"}:
            return []
        stroke = stroke_of((picture.shape[0], picture.shape[1]))
        line, halo = max(1, round(2.5 * stroke)), round(0.9 * stroke)
        if result.instances is not None:
            instances, class_of = reported_instances(
                result.instances, labels, result.instruments, all_of=not self._options.reported_only
            )
            # A painter for each instance: two of one class that touch are outlined apart.
            painters = {number: self._painters[row] for number, row in class_of.items() if row}
            for one, colour in zip(result.instruments, colours, strict=True):
                if one.instance in painters:
                    if colour not in self._shaded:
                        self._shaded[colour] = self._new_painter(colour)
                    painters[one.instance] = self._shaded[colour]
            found = paint_classes(picture, instances, painters, line=line, halo=halo)
            return sorted({class_of[number] for number in found})
        if self._options.reported_only:
            labels = reported_labels(labels, result.instruments, self._table, result.frame_size)
        return paint_classes(picture, labels, self._painters, line=line, halo=halo)

    def _legend_rows(self, result: FrameResult, regions: list[int]) -> list[tuple[str, Colour]]:
        """Text and colour of the classes that are drawn, or of a classifier's three best."""
        if result.scores is not None:
            best = [int(i) for i in np.argsort(-result.scores, kind="stable")[:3]]
            texts = {i: f"{self._table[i].name}  {result.scores[i]:.2f}" for i in best}
        else:
            boxed = result.instruments if "boxes" in self._show else ()
            ids = sorted({*regions, *(instrument.class_id for instrument in boxed)})
            texts = {i: self._table[i].name for i in ids}
        return [(text, self._colours[i]) for i, text in texts.items()]

    def _tags(
        self,
        instruments: Sequence[Instrument],
        colours: Sequence[Colour],
        unit: float,
        size: tuple[int, int],
    ) -> dict[int, NDArray[np.uint8]]:
        """Labels by number of the instrument; the largest have one."""
        if not instruments or not self._show & {"labels", "ids"}:
            return {}
        areas = np.array([instrument.area for instrument in instruments])
        least = (SMALL_SIDE * unit) ** 2
        tags = {}
        for number in np.argsort(-areas, kind="stable")[: 2 * MAX_LABELS].tolist():
            one = instruments[number]
            tag = None
            if one.area >= least:
                tag = tag_of(one, self._show, colours[number], unit=unit, size=size)
            if tag is not None:
                tags[number] = tag
        return tags

    def _arranged(
        self,
        result: FrameResult,
        tags: dict[int, NDArray[np.uint8]],
        rows: list[tuple[str, Colour]],
        unit: float,
        size: tuple[int, int],
        status: Rectangle | None,
    ) -> tuple[Sprite | None, Layout]:
        """Places the legend, then the labels beside it."""
        numbers = list(tags)
        at_box = "boxes" in self._show
        sizes = [(tags[n].shape[1], tags[n].shape[0]) for n in numbers]
        wishes = [
            label_wish(result.instruments[n], own, at_box=at_box)
            for n, own in zip(numbers, sizes, strict=True)
        ]
        total = self._in_need_of_labels(result.instruments)

        def legend_of(missing: int) -> tuple[Sprite | None, Rectangle | None]:
            if not self._options.legend:
                return None, None
            note = f"{missing} without label" if missing else ""
            alone = result.scores is not None
            sprite = legend_sprite(rows, note, unit=unit, size=size, count=total, alone=alone)
            return sprite, None if sprite is None else legend_rectangle(sprite, size, unit=unit)

        missing = total - len(wishes)
        # Room for the count is kept before it is known: it must not grow over a label.
        for expected in (missing, max(1, missing)):
            _, reserved = legend_of(expected)
            blocked = [r for r in (reserved, status) if r is not None]
            placed = self._placer.place(wishes, size, blocked=blocked, labels=result.labels)
            missing = total - len(placed)
            if not missing or expected:
                break
        legend, where = legend_of(missing)
        labels = tuple(replace(label, wish=numbers[label.wish]) for label in placed)
        return legend, Layout(labels=labels, unlabelled=missing, legend=where, status=status)

    def _in_need_of_labels(self, instruments: Sequence[Instrument]) -> int:
        """How many instruments have something to say on a label."""
        if "labels" in self._show:
            return len(instruments)
        if "ids" in self._show:
            return sum(instrument.track_id is not None for instrument in instruments)
        return 0


def stroke_of(size: tuple[int, int]) -> float:
    """Scale of lines for ``(height, width)``; 1 is for 540 lines."""
    return min(size) / 540


def unit_of(size: tuple[int, int]) -> float:
    """Scale of type for ``(height, width)``; 1 is for 540 lines, and type is never illegible."""
    return max(0.75, stroke_of(size))


def _draw_box(
    picture: NDArray[np.uint8], instrument: Instrument, colour: Colour, stroke: float
) -> None:
    x0, y0, x1, y1 = (round(v) for v in instrument.box)
    first, last = (x0, y0), (max(x0, x1 - 1), max(y0, y1 - 1))
    if min(x1 - x0, y1 - y0) < SMALL_SIDE * stroke:
        cv2.rectangle(picture, first, last, colour, max(1, round(0.6 * stroke)))
        return
    line, dark = max(1, round(1.3 * stroke)), round(0.6 * stroke)
    if dark:
        out = line // 2 + dark // 2 + 1
        corners = (first[0] - out, first[1] - out), (last[0] + out, last[1] + out)
        cv2.rectangle(picture, *corners, BLACK, dark)
    cv2.rectangle(picture, first, last, colour, line)


def _draw_tips(
    picture: NDArray[np.uint8], instrument: Instrument, colour: Colour, stroke: float
) -> None:
    side = instrument.area**0.5 / stroke
    if side < TINY_SIDE:
        return
    # Four sizes, so that sprites are found again.
    scale = min(4, max(1, round(side / 10))) / 4
    sprite = tip_sprite(colour, max(0.3, stroke * max(0.4, scale)))
    middle = sprite.colour.shape[0] // 2
    for x, y in instrument.tips:
        sprite.blit(picture, round(x - 0.5) - middle, round(y - 0.5) - middle)
