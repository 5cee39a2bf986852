"""Shapes of organs: their outline and the relief of their surface.

inside, relief = organ_shape(np.random.default_rng(0), "lobes", (320, 400))
"""

from __future__ import annotations

import cv2
import numpy as np

from trocar.train.data.phantom.noise import Field, blur, smooth_noise, wander


def organ_shape(rng: np.random.Generator, kind: str, shape: tuple[int, int]) -> tuple[Field, Field]:
    """A random organ.

    Args:
        rng: Source of randomness.
        kind: ``dome``, ``lobes``, ``tube`` or ``sheet``.
        shape: Height and width.

    Returns:
        ``[H, W]`` float32: 1 deep inside, 0 at the edge, below 0 outside; and ``[H, W]`` float32
        relief in pixels.
    """
    if kind == "tube":
        return _tube(rng, shape)
    inside = _ellipse(rng, shape)
    warp = smooth_noise(rng, shape, cells=4, octaves=3)
    if kind == "lobes":
        lobes = np.abs(smooth_noise(rng, shape, cells=rng.uniform(6, 9), octaves=2, gain=0.4))
        lobules = np.abs(smooth_noise(rng, shape, cells=rng.uniform(16, 24)))
        inside += 0.28 * warp + 0.14 * lobes
        relief = -9 * np.exp(-5.5 * lobes) - 2.5 * np.exp(-5 * lobules)
    elif kind == "sheet":
        folds = np.abs(smooth_noise(rng, shape, cells=4, octaves=3))
        inside += 0.45 * warp
        relief = -7 * np.exp(-6 * folds) + 2 * smooth_noise(rng, shape, cells=14, octaves=2)
    else:
        inside += 0.12 * warp
        relief = 2.5 * smooth_noise(rng, shape, cells=8, octaves=3)
    return inside, relief


def _ellipse(rng: np.random.Generator, shape: tuple[int, int]) -> Field:
    height, width = shape
    x = (np.arange(width, dtype=np.float32) / width - np.float32(rng.uniform(0.05, 0.95)))[None]
    y = np.arange(height, dtype=np.float32) / width - np.float32(rng.uniform(0.05, 0.75))
    y = y[:, None]
    angle = rng.uniform(0, np.pi)
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    a, b = np.float32(rng.uniform(0.24, 0.52)), np.float32(rng.uniform(0.17, 0.36))
    along, across = (c * x + s * y) / a, (c * y - s * x) / b
    inside: Field = 1 - np.sqrt(along * along + across * across)
    return inside


def _tube(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[Field, Field]:
    """Bowel or duct: a thick curved line with shallow folds."""
    height, width = shape
    start = (rng.uniform(0, width), rng.uniform(0, height))
    path = wander(rng, start, steps=24, step=width / 18, bend=0.28)
    radius = width * rng.uniform(0.055, 0.12)
    small = 2
    canvas = np.full((height // small, width // small), 255, np.uint8)
    line = np.round(path / small * 16).astype(np.int32)
    cv2.polylines(canvas, [line], False, 0, 1, cv2.LINE_8, 4)
    far = np.float32(4 * width)  # also where the whole line lies outside the canvas
    near = np.minimum(cv2.distanceTransform(canvas, cv2.DIST_L2, 5), far) * np.float32(small)
    distance = blur(cv2.resize(near, (width, height), interpolation=cv2.INTER_LINEAR), 2.0)
    warp = smooth_noise(rng, shape, cells=7, octaves=2)
    inside: Field = 1 - distance / np.float32(radius) + 0.14 * warp
    folds = np.abs(smooth_noise(rng, shape, cells=rng.uniform(10, 16)))
    relief: Field = -2.2 * np.exp(-5 * folds) + 1.2 * smooth_noise(rng, shape, cells=24)
    return inside, relief
