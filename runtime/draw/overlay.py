"""Draws results on frames: coloured regions with outlines, names, boxes, tips, a legend.

image = Painter(table).draw(frame, result)      # [H, W, 3] uint8 RGB
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import ClassTable
from trocar.contract.results import FrameResult, Instrument
from trocar.runtime.draw.sprites import RegionPainter, Sprite, sprite_from_mask, tip_sprite
from trocar.runtime.draw.text import Colour, coloured_text, contrasting_colour, paste, text_mask


@dataclass(frozen=True, kw_only=True)
class OverlayOptions:
    """What is drawn.

    Attributes:
        opacity: Opacity of the regions, 0..1.
        boxes: Whether boxes with name tags are drawn.
        tips: Whether tips are drawn.
        legend: Whether the legend is drawn.
        status: Whether the status line at the bottom is drawn.
    """

    opacity: float = 0.42
    boxes: bool = True
    tips: bool = True
    legend: bool = True
    status: bool = True


DEFAULTS = OverlayOptions()

TEXT_BACKGROUND_GAIN = 0.35
"""Brightness, 0..1, that the image keeps behind text."""


class Painter:
    """Draws results of one class table."""

    def __init__(self, table: ClassTable, options: OverlayOptions = DEFAULTS) -> None:
        self._options = options
        self._table = table
        self._colours: list[Colour] = [_bright(row.colour) for row in table]
        self._painters = [RegionPainter(colour, options.opacity) for colour in self._colours]
        self._legends: dict[tuple[str, ...], Sprite] = {}

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
        picture: NDArray[np.uint8] = image.copy()
        unit = max(0.75, min(picture.shape[0], picture.shape[1]) / 540)
        shown: dict[int, str] = {}
        if result is not None:
            if result.labels is not None:
                shown = self._regions(picture, result.labels, unit)
            if self._options.boxes:
                taken: list[tuple[int, int, int, int]] = []
                for instrument in result.instruments:
                    self._box(picture, instrument, unit, taken)
            if self._options.tips:
                for instrument in result.instruments:
                    self._tips(picture, instrument, unit)
            if result.scores is not None:
                shown = self._best(result)
        if self._options.legend and shown:
            self._legend(picture, shown, unit)
        if self._options.status and status:
            _status(picture, status, unit, alarm=alarm)
        return picture

    def _regions(
        self, picture: NDArray[np.uint8], labels: NDArray[np.uint8], unit: float
    ) -> dict[int, str]:
        """Paints all classes but the background; gives the names of the classes that occur."""
        shown: dict[int, str] = {}
        height, width = picture.shape[:2]
        sy, sx = height / labels.shape[0], width / labels.shape[1]
        left, top, wide, high = cv2.boundingRect(labels)
        if not wide:
            return shown
        labels = labels[top : top + high, left : left + wide]
        line = max(1, round(1.8 * unit))
        # Margin for the outline on each side, and for the smoothed edge.
        margin_x, margin_y = 1 + int(line / sx), 1 + int(line / sy)
        for row in self._table.rows[1:]:
            # Not cv2.compare: it fails where the labels are a single cell.
            mask = cv2.inRange(labels, row.id, row.id)
            if not cv2.countNonZero(mask):
                continue
            shown[row.id] = row.name
            x, y, w, h = cv2.boundingRect(mask)
            x0, y0 = max(0, x - margin_x), max(0, y - margin_y)
            x1, y1 = min(mask.shape[1], x + w + margin_x), min(mask.shape[0], y + h + margin_y)
            fx0, fy0 = round((x0 + left) * sx), round((y0 + top) * sy)
            fx1, fy1 = round((x1 + left) * sx), round((y1 + top) * sy)
            if fx1 <= fx0 or fy1 <= fy0:
                continue
            smooth = cv2.resize(mask[y0:y1, x0:x1], (fx1 - fx0, fy1 - fy0))
            self._painters[row.id].paint(
                picture[fy0:fy1, fx0:fx1], cast("NDArray[np.uint8]", smooth), line
            )
        return shown

    def _box(
        self,
        picture: NDArray[np.uint8],
        instrument: Instrument,
        unit: float,
        taken: list[tuple[int, int, int, int]],
    ) -> None:
        colour = self._colours[instrument.class_id]
        x0, y0, x1, y1 = (round(v) for v in instrument.box)
        line = max(1, round(1.2 * unit))
        cv2.rectangle(picture, (x0, y0), (x1 - 1, y1 - 1), colour, line)
        mask = text_mask(_tag(instrument), round(12 * unit))
        pad = round(4 * unit)
        w, h = mask.shape[1] + 2 * pad, mask.shape[0] + pad
        height, width = picture.shape[:2]
        tx = min(max(0, x0), max(0, width - w))
        ty = y0 - h if y0 >= h else min(y0, max(0, height - h))
        for other in sorted(taken, key=lambda box: box[1]):
            if tx < other[2] and tx + w > other[0] and ty < other[3] and ty + h > other[1]:
                ty = other[3]
        taken.append((tx, ty, tx + w, ty + h))
        cv2.rectangle(picture, (tx, ty), (tx + w - 1, ty + h - 1), colour, cv2.FILLED)
        paste(
            picture,
            coloured_text(mask, contrasting_colour(colour), colour),
            tx + pad,
            ty + pad // 2,
        )

    def _tips(self, picture: NDArray[np.uint8], instrument: Instrument, unit: float) -> None:
        sprite = tip_sprite(self._colours[instrument.class_id], unit)
        middle = sprite.colour.shape[0] // 2
        for x, y in instrument.tips:
            sprite.blit(picture, round(x - 0.5) - middle, round(y - 0.5) - middle)

    def _legend(self, picture: NDArray[np.uint8], shown: dict[int, str], unit: float) -> None:
        key = (f"{unit:g}", *(f"{i} {name}" for i, name in shown.items()))
        sprite = self._legends.get(key)
        if sprite is None:
            if len(self._legends) >= 64:
                self._legends.clear()
            sprite = self._legends[key] = self._legend_sprite(shown, unit)
        pad = round(8 * unit)
        sprite.blit(picture, max(0, picture.shape[1] - sprite.colour.shape[1] - pad), pad)

    def _legend_sprite(self, shown: dict[int, str], unit: float) -> Sprite:
        masks = {i: text_mask(name, round(12 * unit)) for i, name in shown.items()}
        pad, swatch = round(8 * unit), round(12 * unit)
        row = max(mask.shape[0] for mask in masks.values()) + round(3 * unit)
        w = 3 * pad + swatch + max(mask.shape[1] for mask in masks.values())
        h = 2 * pad + row * len(masks) - round(3 * unit)
        coverage = np.zeros((h, w), np.uint8)
        swatches = []
        y = pad
        for i, mask in masks.items():
            middle = y + mask.shape[0] // 2
            corners = (pad, middle - swatch // 2), (pad + swatch, middle + swatch // 2)
            swatches.append((corners, self._colours[i]))
            paste(coverage, mask, 2 * pad + swatch, y)
            y += row
        sprite = sprite_from_mask(coverage, (255, 255, 255), background_gain=TEXT_BACKGROUND_GAIN)
        for (first, last), colour in swatches:
            cv2.rectangle(sprite.colour, first, last, colour, cv2.FILLED)
            cv2.rectangle(sprite.alpha, first, last, (255, 255, 255), cv2.FILLED)
        return sprite

    def _best(self, result: FrameResult) -> dict[int, str]:
        """A classifier's three best classes, as legend lines."""
        assert result.scores is not None
        best = np.argsort(-result.scores, kind="stable")[:3]
        return {int(i): f"{self._table[int(i)].name}  {result.scores[i]:.2f}" for i in best}


def _tag(instrument: Instrument) -> str:
    name = instrument.class_name
    if instrument.classified is not None:
        name = f"{instrument.classified.name} {instrument.classified.score:.2f}"
    number = "" if instrument.track_id is None else f"  #{instrument.track_id}"
    return f"{name}{number}  {instrument.score:.2f}"


def _status(picture: NDArray[np.uint8], text: str, unit: float, *, alarm: bool) -> None:
    pad = round(6 * unit)
    coverage = cv2.copyMakeBorder(
        text_mask(text, round(12 * unit)), pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=0
    )
    colour = (255, 150, 90) if alarm else (235, 235, 235)
    sprite = sprite_from_mask(
        cast("NDArray[np.uint8]", coverage), colour, background_gain=TEXT_BACKGROUND_GAIN
    )
    sprite.blit(picture, 0, picture.shape[0] - coverage.shape[0])


def _bright(colour: tuple[int, int, int]) -> Colour:
    """The colour, brightened if it would be hard to see on dark tissue."""
    r, g, b = colour
    brightest = max(r, g, b)
    if brightest == 0:
        return (128, 128, 128)
    gain = max(1.0, 170 / brightest)
    return (min(255, round(r * gain)), min(255, round(g * gain)), min(255, round(b * gain)))
