"""Generated endoscope images with a known field of view: surroundings, shapes and places.

    image, view = round_view(seed=3, surroundings="noisy", centre=(0.4, 0.5), radius=0.55)

The tissue is red with texture and darker towards the rim, and an instrument crosses the rim.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.runtime.locate.field_of_view import FieldOfView

SURROUNDINGS = ("black", "noisy", "grey", "text", "picture")


def tissue(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """``[H, W, 3]`` uint8 RGB: red, with slow and fast texture."""
    slow = cv2.resize(rng.random((9, 12, 3)).astype(np.float32), (width, height))
    fast = cv2.resize(rng.random((60, 80, 1)).astype(np.float32), (width, height))[..., None]
    colour = np.array([170, 75, 65], np.float32)
    return np.clip(colour * (0.55 + 0.6 * slow + 0.3 * fast), 0, 255).astype(np.uint8)


def round_view(
    *,
    seed: int = 0,
    size: tuple[int, int] = (480, 640),
    surroundings: str = "black",
    centre: tuple[float, float] = (0.5, 0.5),
    radius: float = 0.45,
    sides: int = 0,
    instrument: bool = True,
) -> tuple[NDArray[np.uint8], FieldOfView]:
    """One image and its field of view.

    Args:
        seed: Of texture and noise.
        size: ``(height, width)``.
        surroundings: One of `SURROUNDINGS`.
        centre: Centre as fractions of width and height.
        radius: As a fraction of the height.
        sides: 0 for a circle, else the sides of a regular polygon of the same area.
        instrument: Whether a dark shaft crosses the rim.
    """
    rng = np.random.default_rng(seed)
    h, w = size
    x, y, r = centre[0] * w, centre[1] * h, radius * h
    image = tissue(rng, h, w).astype(np.float32)
    dx, dy = np.arange(w) + 0.5 - x, np.arange(h)[:, None] + 0.5 - y
    distance = np.hypot(dx, dy)
    image *= (1.0 - 0.55 * np.minimum(distance / r, 1.0) ** 2)[..., None]
    if instrument:
        angle = rng.random() * 2 * math.pi
        end = int(x + 1.3 * r * math.cos(angle)), int(y + 1.3 * r * math.sin(angle))
        cv2.line(image, (int(x), int(y)), end, (25.0, 25.0, 28.0), max(2, int(0.12 * r)))
    level = {"grey": 70.0}.get(surroundings, 3.0)
    around = np.full_like(image, level)
    if surroundings == "noisy":
        around += np.abs(rng.normal(0, 14, (h, w, 1))).astype(np.float32)
    if surroundings in ("text", "picture"):
        scale = h / 480
        text = np.zeros((h, w, 3), np.uint8)
        place = int(5 * scale), int(20 * scale)
        cv2.putText(text, "PATIENT 4711", place, 0, 0.5 * scale, (230,) * 3, max(1, int(scale)))
        around = np.maximum(around, text)
    if surroundings == "picture":
        a, b = h // 5, w // 6
        around[h - a - 4 : h - 4, w - b - 4 : w - 4] = tissue(rng, a, b)
    inside = distance <= r
    if sides:
        # The polygon of the same area: its corners lie outside of the circle, its sides inside.
        corner = r * math.sqrt(2 * math.pi / (sides * math.sin(2 * math.pi / sides)))
        turn = 2 * math.pi * (np.arange(sides) + 0.5) / sides
        corners = np.stack([x + corner * np.cos(turn), y + corner * np.sin(turn)], axis=1)
        mask = np.zeros((h, w), np.uint8)
        cv2.fillPoly(mask, [np.rint(corners).astype(np.int32)], 1)
        inside = mask > 0
    image = np.where(inside[..., None], image, around)
    image = cv2.GaussianBlur(image, (0, 0), 1.0) + rng.normal(0, 2, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8), FieldOfView(x=x, y=y, radius=r)
