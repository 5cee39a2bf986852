"""Sprites with alpha, and tinted regions with outlines.

    sprite = tip_sprite((255, 80, 0), 2.0)
    sprite.blit(image, 100, 50)

Sprites are made once and cached. Drawing touches only bounding boxes and uses look-up tables,
because a live frame has a few milliseconds for all drawing.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.runtime.draw.text import Colour

STRIP_ROWS = 48
"""Rows that are painted at a time: an oblique region fills little of its bounding box."""


@dataclass(frozen=True)
class Sprite:
    """A small image with alpha, premultiplied.

    Attributes:
        colour: ``[h, w, 3]`` RGB, multiplied by alpha.
        alpha: ``[h, w, 3]`` opacity of each channel, 0..255.
    """

    colour: NDArray[np.uint8]
    alpha: NDArray[np.uint8]

    def blit(self, image: NDArray[np.uint8], x: int, y: int) -> None:
        """Draws the sprite with its top-left corner at ``(x, y)``, clipped to the image."""
        height, width = self.colour.shape[:2]
        x0, y0 = max(0, x), max(0, y)
        x1, y1 = min(image.shape[1], x + width), min(image.shape[0], y + height)
        if x1 <= x0 or y1 <= y0:
            return
        clipped = slice(y0 - y, y1 - y), slice(x0 - x, x1 - x)
        target = image[y0:y1, x0:x1]
        transmitted = cv2.multiply(target, cv2.bitwise_not(self.alpha[clipped]), scale=1 / 255)
        cv2.add(transmitted, self.colour[clipped], target)


def sprite_from_mask(
    coverage: NDArray[np.uint8], colour: Colour, *, background_gain: float = 1.0
) -> Sprite:
    """A sprite of one colour from a coverage mask.

    Args:
        coverage: ``[h, w]`` 0..255.
        colour: RGB where the coverage is 255.
        background_gain: Brightness, 0..1, that the image keeps where the coverage is 0.
    """
    channels = cv2.merge([coverage] * 3)
    return Sprite(
        cast("NDArray[np.uint8]", cv2.LUT(channels, _colour_table(colour))),
        cast("NDArray[np.uint8]", cv2.LUT(channels, _alpha_table(background_gain))),
    )


@functools.lru_cache(maxsize=256)
def tip_sprite(colour: Colour, unit: float) -> Sprite:
    """A ring in a class's colour between white rings, and a dot; its centre is the tip."""
    radius = round(7 * unit)
    middle = radius + max(2, round(2.6 * unit))
    centre = (middle, middle)
    white = (255, 255, 255)
    on_black, on_white = (
        np.full((2 * middle + 1, 2 * middle + 1, 3), level, np.uint8) for level in (0, 255)
    )
    for canvas in (on_black, on_white):
        cv2.circle(canvas, centre, radius, white, max(2, round(2.6 * unit)), cv2.LINE_AA)
        cv2.circle(canvas, centre, radius, colour, max(1, round(1.2 * unit)), cv2.LINE_AA)
        cv2.circle(canvas, centre, max(1, round(1.6 * unit)), white, -1, cv2.LINE_AA)
    # The difference between the two backgrounds is the background's share.
    share = cv2.bitwise_not(cv2.subtract(on_white, on_black))
    return Sprite(on_black, cast("NDArray[np.uint8]", share))


class RegionPainter:
    """Tints regions in one colour and outlines them."""

    def __init__(self, colour: Colour, opacity: float) -> None:
        self._colour = colour
        self._opacity = opacity
        self._block = np.zeros((STRIP_ROWS, 0, 3), np.uint8)

    def paint(self, picture: NDArray[np.uint8], smooth: NDArray[np.uint8], line: int) -> None:
        """Tints a region and draws its outline.

        Args:
            picture: ``[h, w, 3]`` uint8 RGB, changed in place.
            smooth: ``[h, w]`` 0..255; the region is where it is above 127.
            line: Width of the outline in pixels; a third of it lies outside the region.
        """
        _, solid = cv2.threshold(smooth, 127, 255, cv2.THRESH_BINARY)
        # Near a straight edge the mean over k pixels is a linear function of the distance.
        k = line + 2 if line % 2 else line + 3
        edge = cv2.blur(solid, (k, k), borderType=cv2.BORDER_REPLICATE)
        low = int(255 * (0.5 - (line - 1) / (2 * k))) + 1
        high = int(255 * (0.5 + (line + 1) / (2 * k)))
        _, outline = cv2.threshold(edge, low - 1, 0, cv2.THRESH_TOZERO)
        cv2.threshold(outline, high, 0, cv2.THRESH_TOZERO_INV, outline)
        # The tint reaches one pixel beyond the outline, which softens its edge.
        beyond = int(255 * (0.5 - (line + 1) / (2 * k)))
        _, tinted = cv2.threshold(cv2.max(edge, solid), beyond, 255, cv2.THRESH_BINARY)
        if self._block.shape[1] < picture.shape[1]:
            self._block = np.full((STRIP_ROWS, picture.shape[1], 3), self._colour, np.uint8)
        for top in range(0, picture.shape[0], STRIP_ROWS):
            rows = slice(top, top + STRIP_ROWS)
            x, _, w, _ = cv2.boundingRect(tinted[rows])
            if not w:
                continue
            columns = slice(x, x + w)
            target = picture[rows, columns]
            block = self._block[: target.shape[0], :w]
            mixed = cv2.addWeighted(target, 1 - self._opacity, block, self._opacity, 0)
            cv2.copyTo(mixed, tinted[rows, columns], target)
            cv2.copyTo(block, outline[rows, columns], target)


@functools.lru_cache(maxsize=64)
def _colour_table(colour: Colour) -> NDArray[np.uint8]:
    """``[256, 1, 3]`` premultiplied colour by coverage."""
    coverage = np.arange(256)[:, None]
    return np.asarray((np.array(colour) * coverage + 127) // 255, np.uint8)[:, None, :]


@functools.lru_cache(maxsize=8)
def _alpha_table(background_gain: float) -> NDArray[np.uint8]:
    """``[256]`` alpha by coverage."""
    table: NDArray[np.uint8] = 255 - np.rint(np.arange(255, -1, -1) * background_gain).astype(
        np.uint8
    )
    return table
