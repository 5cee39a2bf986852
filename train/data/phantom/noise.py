"""Smooth random fields and textures for phantom scenes.

field = smooth_noise(np.random.default_rng(0), (256, 320), cells=6, octaves=3)
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]


def smooth_noise(
    rng: np.random.Generator,
    shape: tuple[int, int],
    *,
    cells: float,
    octaves: int = 1,
    gain: float = 0.5,
) -> Field:
    """Value noise ``[H, W]`` float32, roughly -1..1, zero mean.

    Args:
        rng: Source of randomness.
        shape: Height and width.
        cells: Grid cells over the width in the coarsest octave.
        octaves: Each doubles the frequency.
        gain: Amplitude of an octave relative to the one before.
    """
    height, width = shape
    total = np.zeros(shape, np.float32)
    amplitude, norm = 1.0, 0.0
    for octave in range(octaves):
        columns = max(round(cells * 2**octave), 1)
        rows = max(round(columns * height / width), 1)
        # One more cell on each side is cropped again, so that no border is blurred.
        grid = rng.uniform(-1, 1, (rows + 2, columns + 2)).astype(np.float32)
        wide = (-(-width * (columns + 2) // columns), -(-height * (rows + 2) // rows))
        left, top = (wide[0] - width) // 2, (wide[1] - height) // 2
        layer = cv2.resize(grid, wide, interpolation=cv2.INTER_CUBIC)
        layer = layer[top : top + height, left : left + width]
        total += np.float32(amplitude) * layer
        norm += amplitude
        amplitude *= gain
    result: Field = total * np.float32(1.4 / norm)
    return result


def smoothstep(x: Field, low: float, high: float) -> Field:
    """0 below ``low``, 1 above ``high``, a smooth ramp between."""
    t = np.clip((x - np.float32(low)) * np.float32(1.0 / (high - low)), 0, 1)
    result: Field = t * t * (3 - 2 * t)
    return result


def blur(image: Field, sigma: float) -> Field:
    """Gaussian blur; a wide one runs on a smaller image, so its cost does not grow with sigma."""
    if sigma <= 0.3:
        return image
    if sigma <= 3:
        near = cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
        return np.asarray(near, np.float32)
    factor = min(int(sigma / 1.5), 16)
    height, width = image.shape[:2]
    small = cv2.resize(
        image,
        (max(width // factor, 2), max(height // factor, 2)),
        interpolation=cv2.INTER_AREA,
    )
    small = cv2.GaussianBlur(small, (0, 0), sigma / factor, borderType=cv2.BORDER_REPLICATE)
    wide = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(wide, np.float32)


def moved(image: Field, dx: float, dy: float) -> Field:
    """The image shifted right and down by pixels, its border repeated."""
    place = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
    size = (image.shape[1], image.shape[0])
    result = cv2.warpAffine(image, place, size, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(result, np.float32)


def mix(low: Field, high: Field | np.float32, share: Field) -> Field:
    """Mixes ``low`` (share 0) and ``high`` (share 1); the share needs no channel axis."""
    if low.ndim == 3 and share.ndim == 2:
        share = np.asarray(cv2.merge([share, share, share]), np.float32)
    result: Field = low + (high - low) * share
    return result


def wander(
    rng: np.random.Generator, start: tuple[float, float], *, steps: int, step: float, bend: float
) -> NDArray[np.float32]:
    """A smooth random walk, ``[steps, 2]`` float32 points."""
    turn = np.cumsum(rng.normal(0, bend, steps)) * 0.6 + rng.normal(0, bend, steps)
    angle = rng.uniform(0, 2 * np.pi) + np.cumsum(turn * 0.5)
    path = np.stack([np.cos(angle), np.sin(angle)], 1) * step
    points: NDArray[np.float32] = (np.cumsum(path, 0) + np.array(start)).astype(np.float32)
    return points
