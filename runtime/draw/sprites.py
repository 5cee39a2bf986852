"""Sprites: small images with alpha that are made once, cached and drawn at many places.

sprite = tip_sprite((255, 80, 0), 2.0)
sprite.blit(image, 100, 50)
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.runtime.draw.colours import BLACK, WHITE, Colour


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
    """A ring in a class's colour between white and black rings, and a dot in the tip."""
    radius, dot = max(2, round(7 * unit)), max(1, round(1.6 * unit))
    dark, light = max(3, round(5.4 * unit)), max(2, round(2.6 * unit))
    thin = max(1, round(1.2 * unit))
    middle = radius + (dark + 1) // 2 + 1
    centre = (middle, middle)
    on_black, on_white = (
        np.full((2 * middle + 1, 2 * middle + 1, 3), level, np.uint8) for level in (0, 255)
    )
    for canvas in (on_black, on_white):
        cv2.circle(canvas, centre, radius, BLACK, dark, cv2.LINE_AA)
        cv2.circle(canvas, centre, radius, WHITE, light, cv2.LINE_AA)
        cv2.circle(canvas, centre, radius, colour, thin, cv2.LINE_AA)
        if radius > 3:
            cv2.circle(canvas, centre, dot + max(1, round(0.8 * unit)), BLACK, -1, cv2.LINE_AA)
            cv2.circle(canvas, centre, dot, WHITE, -1, cv2.LINE_AA)
    # The difference between the two backgrounds is the background's share.
    share = cv2.bitwise_not(cv2.subtract(on_white, on_black))
    return Sprite(on_black, cast("NDArray[np.uint8]", share))


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
