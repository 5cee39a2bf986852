"""Draws what was found: coloured regions with outlines, names, boxes, tips, a legend.

picture = Painter(table).draw(frame, result)
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import ClassTable
from trocar.contract.results import FrameResult, Instrument
from trocar.runtime.text import paste, printed, readable_on, shade, stamp, text_mask

Colour = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class OverlayOptions:
    """What is drawn.

    Attributes:
        opacity: Of the regions, 0..1.
        boxes: Boxes with their name tags.
        tips: Tips.
        legend: The legend.
        status: A line at the bottom, where there is one to show.
    """

    opacity: float = 0.42
    boxes: bool = True
    tips: bool = True
    legend: bool = True
    status: bool = True


DEFAULTS = OverlayOptions()

STRIP = 48
"""Rows that are tinted at a time."""


class Painter:
    """Draws results of one class table."""

    def __init__(self, table: ClassTable, options: OverlayOptions = DEFAULTS) -> None:
        self._options = options
        self._table = table
        self._colours: list[Colour] = [_bright(row.colour) for row in table]
        self._tints = [_tint_table(colour, options.opacity) for colour in self._colours]

    def draw(
        self,
        image: NDArray[np.uint8],
        result: FrameResult | None,
        *,
        status: str = "",
        alarm: bool = False,
    ) -> NDArray[np.uint8]:
        """Draws on a copy.

        Args:
            image: ``[H, W, 3]`` uint8 RGB.
            result: What was found, of this or an earlier frame; ``None`` to show nothing.
            status: A line for the bottom.
            alarm: Whether the line is a warning.

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
        """Paints every class but the background; gives the classes that are there."""
        shown: dict[int, str] = {}
        height, width = picture.shape[:2]
        sy, sx = height / labels.shape[0], width / labels.shape[1]
        left, top, wide, high = cv2.boundingRect(labels)
        if not wide:
            return shown
        labels = labels[top : top + high, left : left + wide]
        for row in self._table.rows[1:]:
            mask = cv2.compare(labels, row.id, cv2.CMP_EQ)
            x, y, w, h = cv2.boundingRect(mask)
            if not w:
                continue
            shown[row.id] = row.name
            # One pixel more on each side, so that the smoothed edge is not cut off.
            x0, y0 = max(0, x - 1), max(0, y - 1)
            x1, y1 = min(labels.shape[1], x + w + 1), min(labels.shape[0], y + h + 1)
            fx0, fy0 = round((x0 + left) * sx), round((y0 + top) * sy)
            fx1, fy1 = round((x1 + left) * sx), round((y1 + top) * sy)
            if fx1 <= fx0 or fy1 <= fy0:
                continue
            smooth = cv2.resize(mask[y0:y1, x0:x1], (fx1 - fx0, fy1 - fy0))
            _, solid = cv2.threshold(smooth, 127, 255, cv2.THRESH_BINARY)
            part = picture[fy0:fy1, fx0:fx1]
            _tint(part, solid, self._tints[row.id])
            outlines, _ = cv2.findContours(solid, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
            # Drawing costs by the corner: those that nobody can see are left out.
            smooth_outlines = [cv2.approxPolyDP(outline, 0.75, True) for outline in outlines]
            colour, line = self._colours[row.id], max(1, round(1.4 * unit))
            cv2.polylines(part, smooth_outlines, True, colour, line, cv2.LINE_AA)
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
        paste(picture, printed(mask, readable_on(colour), colour), tx + pad, ty + pad // 2)

    def _tips(self, picture: NDArray[np.uint8], instrument: Instrument, unit: float) -> None:
        colour = self._colours[instrument.class_id]
        for x, y in instrument.tips:
            at = (round(x - 0.5), round(y - 0.5))
            radius = round(7 * unit)
            cv2.circle(picture, at, radius, (255, 255, 255), max(2, round(2.6 * unit)), cv2.LINE_AA)
            cv2.circle(picture, at, radius, colour, max(1, round(1.2 * unit)), cv2.LINE_AA)
            cv2.circle(picture, at, max(1, round(1.6 * unit)), (255, 255, 255), -1, cv2.LINE_AA)

    def _legend(self, picture: NDArray[np.uint8], shown: dict[int, str], unit: float) -> None:
        masks = {i: text_mask(name, round(12 * unit)) for i, name in shown.items()}
        pad, swatch = round(8 * unit), round(12 * unit)
        row = max(mask.shape[0] for mask in masks.values()) + round(3 * unit)
        w = 3 * pad + swatch + max(mask.shape[1] for mask in masks.values())
        h = 2 * pad + row * len(masks) - round(3 * unit)
        x0 = max(0, picture.shape[1] - w - pad)
        shade(picture, (x0, pad, x0 + w, pad + h), 0.35)
        y = 2 * pad
        for i, mask in masks.items():
            centre = y + mask.shape[0] // 2
            cv2.rectangle(
                picture,
                (x0 + pad, centre - swatch // 2),
                (x0 + pad + swatch, centre + swatch // 2),
                self._colours[i],
                cv2.FILLED,
            )
            stamp(picture, mask, x0 + 2 * pad + swatch, y, (255, 255, 255))
            y += row

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
    mask = text_mask(text, round(12 * unit))
    pad = round(6 * unit)
    y0 = picture.shape[0] - mask.shape[0] - 2 * pad
    shade(picture, (0, y0, mask.shape[1] + 2 * pad, picture.shape[0]), 0.35)
    stamp(picture, mask, pad, y0 + pad, (255, 150, 90) if alarm else (235, 235, 235))


def _tint_table(colour: Colour, opacity: float) -> NDArray[np.uint8]:
    """``[256, 1, 3]``: every value mixed with a colour."""
    grey = np.arange(256, dtype=np.float32)[:, None] * (1 - opacity)
    mixed = np.rint(grey + np.array(colour, np.float32) * opacity)
    return mixed.astype(np.uint8)[:, None, :]


def _tint(part: NDArray[np.uint8], solid: NDArray[np.uint8], table: NDArray[np.uint8]) -> None:
    """Mixes what is solid with a colour, in strips: a slanting shape fills little of its box."""
    for top in range(0, part.shape[0], STRIP):
        own = solid[top : top + STRIP]
        x, _, w, _ = cv2.boundingRect(own)
        if w:
            place = part[top : top + STRIP, x : x + w]
            cv2.copyTo(cv2.LUT(place, table), own[:, x : x + w], place)


def _bright(colour: tuple[int, int, int]) -> Colour:
    """The colour, lifted where it would not show on dark tissue."""
    r, g, b = colour
    most = max(r, g, b)
    if most == 0:
        return (128, 128, 128)
    gain = max(1.0, 170 / most)
    return (min(255, round(r * gain)), min(255, round(g * gain)), min(255, round(b * gain)))
