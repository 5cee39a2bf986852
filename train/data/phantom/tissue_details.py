"""Details of the tissue: vessel trees, connective strands, swabs.

albedo = draw_vessels(rng, albedo, density, domain)
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.train.data.phantom.domains import Domain
from trocar.train.data.phantom.noise import (
    Field,
    blur,
    mix,
    moved,
    smooth_noise,
    smoothstep,
    wander,
)


def draw_vessels(rng: np.random.Generator, albedo: Field, density: Field, domain: Domain) -> Field:
    """Draws branching vessels on ``[H, W, 3]`` where the density, ``[h, w]`` 0..1, is high."""
    rows, columns = albedo.shape[:2]
    ink = np.zeros((rows, columns), np.uint8)
    for _ in range(34):
        start = (rng.uniform(0, columns), rng.uniform(0, rows))
        at = density[
            int(start[1] * density.shape[0] / rows), int(start[0] * density.shape[1] / columns)
        ]
        if at < 0.3 + 0.4 * rng.random():
            continue
        width = rng.uniform(0.8, 3.4)
        trunk = wander(rng, start, steps=26, step=columns / 60, bend=0.11)
        _tapered(ink, trunk, width, int(rng.uniform(110, 230)))
        for _ in range(int(rng.integers(3, 9))):
            place = trunk[int(rng.integers(2, 22))]
            twig = wander(rng, (place[0], place[1]), steps=14, step=columns / 100, bend=0.2)
            _tapered(ink, twig, width * 0.5, int(rng.uniform(80, 180)))
    soft = cv2.GaussianBlur(ink, (3, 3), 0.7)
    share = cv2.resize(density, (columns, rows), interpolation=cv2.INTER_LINEAR)
    share = cv2.multiply(share, soft, scale=0.72 / 255, dtype=cv2.CV_32F)
    return mix(albedo, np.array(domain.vessel, np.float32), np.minimum(share, 0.8))


def _tapered(ink: NDArray[np.uint8], path: NDArray[np.float32], width: float, value: int) -> None:
    pieces = 4
    step = max(len(path) // pieces, 2)
    fixed = np.round(path * 16).astype(np.int32)
    for piece in range(pieces):
        part = fixed[piece * step : (piece + 1) * step + 1]
        if len(part) > 1:
            thick = max(round(width * (1 - piece / pieces)), 1)
            shade = value if width * (1 - piece / pieces) >= 1 else int(value * 0.6)
            cv2.polylines(ink, [part], False, shade, thick, cv2.LINE_AA, 4)


def draw_strands(rng: np.random.Generator, albedo: Field, height: Field, gloss: Field) -> None:
    """Draws, in place, pale wet connective fibres, as in a dissected plane."""
    rows, columns = height.shape
    ink = np.zeros((rows, columns), np.uint8)
    steps = 12
    for _ in range(int(rng.integers(2, 5))):
        start = (rng.uniform(0.15, 0.85) * columns, rng.uniform(0.15, 0.85) * rows)
        spine = wander(rng, start, steps=steps, step=columns / 50, bend=0.15)
        for _ in range(int(rng.integers(4, 12))):
            spread = np.linspace(0, 1, steps)[:, None] * rng.normal(0, columns / 40, 2)
            line = np.round((spine + rng.normal(0, columns / 60, 2) + spread) * 16)
            value, thick = int(rng.uniform(50, 190)), int(rng.integers(1, 3))
            cv2.polylines(ink, [line.astype(np.int32)], False, value, thick, cv2.LINE_AA, 4)
    share = blur(ink.astype(np.float32) * np.float32(1 / 255), 0.8)
    albedo[:] = mix(albedo, np.array((226, 206, 200), np.float32), share * 0.45)
    height += 1.6 * share
    np.maximum(gloss, share, out=gloss)


def lay_gauze(
    rng: np.random.Generator,
    albedo: Field,
    height: Field,
    gloss: Field,
    vessels: Field,
    near: Field,
) -> None:
    """Draws, in place, a woven swab: white and grey, as instruments are."""
    rows, columns = height.shape
    angle = rng.uniform(0, np.pi)
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    x = np.arange(columns, dtype=np.float32)[None] - np.float32(rng.uniform(0.2, 0.8) * columns)
    y = np.arange(rows, dtype=np.float32)[:, None] - np.float32(rng.uniform(0.2, 0.8) * rows)
    bend = 5 * smooth_noise(rng, (rows, columns), cells=6, octaves=2)
    along, across = c * x + s * y + bend, c * y - s * x + bend
    long_side, short_side = columns * rng.uniform(0.12, 0.26), columns * rng.uniform(0.05, 0.12)
    inside = np.minimum(long_side - np.abs(along), short_side - np.abs(across))
    inside = inside + 0.8 * smooth_noise(rng, (rows, columns), cells=columns / 4)
    edge = smoothstep(inside, -1.5, 1.5)
    near *= 1 - 0.5 * moved(blur(edge, 5), -2, 4)
    weave = np.sin(along * np.float32(1.9)) * np.sin(across * np.float32(1.9))
    crumple = smooth_noise(rng, (rows, columns), cells=9, octaves=3)
    white = np.float32(rng.uniform(150, 215)) + 16 * weave + 22 * crumple
    cloth = np.dstack([white, white * np.float32(0.98), white * np.float32(0.95)])
    soaked = smoothstep(smooth_noise(rng, (rows, columns), cells=5, octaves=3), 0.1, 0.8)
    cloth = mix(cloth, np.array((136, 22, 24), np.float32), soaked * 0.8)
    albedo[:] = mix(albedo, cloth, edge)
    height[:] = mix(height, 12 + 9 * crumple + 0.5 * weave, edge)
    gloss[:] = mix(gloss, np.float32(0.05), edge)
    vessels *= 1 - edge
    near[:] = mix(near, np.float32(rng.uniform(0.7, 1.0)), edge)
