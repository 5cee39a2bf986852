"""What is painted on pictures: tinted regions with outlines, and small pictures made once.

    mark = tip_mark((255, 80, 0), 2.0)
    mark.stamp(image, 100, 50)

Everything works inside boxes and by table: a live picture has a few milliseconds for all of it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.runtime.draw.text import Colour

STRIP = 48
"""Rows that are painted at a time: a slanting shape fills little of its box."""


@dataclass(frozen=True)
class Mark:
    """A small picture that lets what is below it through.

    Attributes:
        ink: ``[h, w, 3]`` what it adds.
        keep: ``[h, w, 3]`` 0..255, how much of the picture below stays.
    """

    ink: NDArray[np.uint8]
    keep: NDArray[np.uint8]

    def stamp(self, image: NDArray[np.uint8], x: int, y: int) -> None:
        """Puts its top-left corner at ``(x, y)``; what is outside is cut off."""
        height, width = self.ink.shape[:2]
        x0, y0 = max(0, x), max(0, y)
        x1, y1 = min(image.shape[1], x + width), min(image.shape[0], y + height)
        if x1 <= x0 or y1 <= y0:
            return
        own = slice(y0 - y, y1 - y), slice(x0 - x, x1 - x)
        part = image[y0:y1, x0:x1]
        cv2.add(cv2.multiply(part, self.keep[own], scale=1 / 255), self.ink[own], part)


def mark_from_mask(cover: NDArray[np.uint8], colour: Colour, *, keep: float = 1.0) -> Mark:
    """A mark from a coverage mask.

    Args:
        cover: ``[h, w]`` 0..255.
        colour: Of the ink.
        keep: Share of the picture's brightness that stays where nothing covers it.
    """
    whole = cv2.merge([cover] * 3)
    return Mark(cv2.LUT(whole, _ink_table(colour)), cv2.LUT(whole, _keep_table(keep)))


@functools.lru_cache(maxsize=256)
def tip_mark(colour: Colour, unit: float) -> Mark:
    """A ring in a class's colour between white ones, and a dot; its middle is the tip."""
    radius = round(7 * unit)
    middle = radius + max(2, round(2.6 * unit))
    on = []
    for ground in (0, 255):
        canvas = np.full((2 * middle + 1, 2 * middle + 1, 3), ground, np.uint8)
        at = (middle, middle)
        cv2.circle(canvas, at, radius, (255, 255, 255), max(2, round(2.6 * unit)), cv2.LINE_AA)
        cv2.circle(canvas, at, radius, colour, max(1, round(1.2 * unit)), cv2.LINE_AA)
        cv2.circle(canvas, at, max(1, round(1.6 * unit)), (255, 255, 255), -1, cv2.LINE_AA)
        on.append(canvas)
    # What differs between the two grounds is what shows through.
    return Mark(on[0], cv2.subtract(on[1], on[0]))


class RegionPaint:
    """Paints regions of one colour."""

    def __init__(self, colour: Colour, opacity: float) -> None:
        self._colour = colour
        self._opacity = opacity
        self._block = np.zeros((STRIP, 0, 3), np.uint8)

    def paint(self, picture: NDArray[np.uint8], smooth: NDArray[np.uint8], line: int) -> None:
        """Tints a region and draws its outline.

        Args:
            picture: ``[h, w, 3]``, painted on.
            smooth: ``[h, w]`` 0..255; the region is where it is above 127.
            line: Width of the outline, in pixels: one row in three lies outside the region.
        """
        _, solid = cv2.threshold(smooth, 127, 255, cv2.THRESH_BINARY)
        # Near a straight edge the mean over k pixels tells how far the edge is.
        k = line + 2 if line % 2 else line + 3
        near = cv2.blur(solid, (k, k), borderType=cv2.BORDER_REPLICATE)
        low = int(255 * (0.5 - (line - 1) / (2 * k))) + 1
        high = int(255 * (0.5 + (line + 1) / (2 * k)))
        _, outline = cv2.threshold(near, low - 1, 0, cv2.THRESH_TOZERO)
        cv2.threshold(outline, high, 0, cv2.THRESH_TOZERO_INV, outline)
        # The tint reaches one pixel beyond the outline, which softens its edge.
        beyond = int(255 * (0.5 - (line + 1) / (2 * k)))
        _, tinted = cv2.threshold(cv2.max(near, solid), beyond, 255, cv2.THRESH_BINARY)
        if self._block.shape[1] < picture.shape[1]:
            self._block = np.full((STRIP, picture.shape[1], 3), self._colour, np.uint8)
        for top in range(0, picture.shape[0], STRIP):
            rows = slice(top, top + STRIP)
            x, _, w, _ = cv2.boundingRect(tinted[rows])
            if not w:
                continue
            columns = slice(x, x + w)
            place = picture[rows, columns]
            block = self._block[: place.shape[0], :w]
            mixed = cv2.addWeighted(place, 1 - self._opacity, block, self._opacity, 0)
            cv2.copyTo(mixed, tinted[rows, columns], place)
            cv2.copyTo(block, outline[rows, columns], place)


@functools.lru_cache(maxsize=64)
def _ink_table(colour: Colour) -> NDArray[np.uint8]:
    cover = np.arange(256)[:, None]
    return np.asarray((np.array(colour) * cover + 127) // 255, np.uint8)[:, None, :]


@functools.lru_cache(maxsize=8)
def _keep_table(keep: float) -> NDArray[np.uint8]:
    table: NDArray[np.uint8] = np.rint(np.arange(255, -1, -1) * keep).astype(np.uint8)
    return table
