"""The operating field: organs, folds, fat, vessels, blood and wet highlights as one wide canvas.

canvas = make_tissue(np.random.default_rng(0), LOOKS["robotic"], (640, 800), difficulty=0.5)
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.train.data.phantom.details import draw_strands, draw_vessels, lay_gauze
from trocar.train.data.phantom.looks import Look, Organ
from trocar.train.data.phantom.noise import Field, blur, mix, smooth_noise, smoothstep


@dataclass
class _Layers:
    """What is built up organ by organ, at half the canvas size; all ``[h, w]`` float32."""

    albedo: Field  # [h, w, 3], 0..255
    height: Field  # in canvas pixels
    gloss: Field
    vessels: Field
    near: Field


def make_tissue(
    rng: np.random.Generator, look: Look, shape: tuple[int, int], *, difficulty: float
) -> NDArray[np.uint8]:
    """Paints the field of one scene.

    Returns:
        ``[H, W, 3]`` uint8 RGB, lit, with wet highlights.
    """
    half = ((shape[0] + 1) // 2, (shape[1] + 1) // 2)
    layers = _wall(rng, look, half)
    weights = np.array([organ.weight for organ in look.organs])
    for _ in range(int(rng.integers(4, 7))):
        organ = look.organs[int(rng.choice(len(weights), p=weights / weights.sum()))]
        _add_organ(rng, layers, organ)
    if rng.random() < 0.25 + 0.25 * difficulty:
        lay_gauze(rng, layers.albedo, layers.height, layers.gloss, layers.vessels, layers.near)
    _add_blood(rng, layers, look, difficulty)

    size = (shape[1], shape[0])
    stacked = np.dstack([layers.albedo, layers.height, layers.gloss, layers.vessels, layers.near])
    full = cv2.resize(stacked[..., :4], size, interpolation=cv2.INTER_LINEAR)
    rest = cv2.resize(stacked[..., 4:], size, interpolation=cv2.INTER_LINEAR)
    albedo, height = np.ascontiguousarray(full[..., :3]), np.ascontiguousarray(full[..., 3])
    gloss, vessels, near = (np.ascontiguousarray(rest[..., i]) for i in range(3))
    albedo, height = draw_vessels(rng, albedo, height, vessels, look)
    albedo, height, gloss = draw_strands(rng, albedo, height, gloss)
    return _lit(rng, albedo, height, gloss, near, look)


def _wall(rng: np.random.Generator, look: Look, shape: tuple[int, int]) -> _Layers:
    share = smooth_noise(rng, shape, cells=3, octaves=3) * 0.5 + 0.5
    albedo = np.empty((*shape, 3), np.float32)
    albedo[:] = look.wall[0]
    albedo = mix(albedo, np.array(look.wall[1], np.float32), share)
    height = 22 * smooth_noise(rng, shape, cells=2.5, octaves=4, gain=0.42)
    ones = np.ones(shape, np.float32)
    deep = np.float32(rng.uniform(0.35, 0.7))
    return _Layers(albedo, height, ones * 0.4, ones * 0.5, ones * deep)


def _add_organ(rng: np.random.Generator, layers: _Layers, organ: Organ) -> None:
    shape = layers.height.shape
    inside, relief = _form(rng, organ.kind, (shape[0], shape[1]))
    edge = smoothstep(inside, 0.0, 0.02)
    # The organ keeps the light from what lies just beneath it.
    around = blur(edge, shape[1] / 40)
    layers.near *= 1 - 0.55 * around
    share = smooth_noise(rng, (shape[0], shape[1]), cells=5, octaves=4, gain=0.55) * 0.6 + 0.5
    tone = np.float32(rng.uniform(0.85, 1.12)) * (1 + rng.normal(0, 0.04, 3)).astype(np.float32)
    colours = np.array(organ.colours, np.float32) * tone
    paint = mix(np.broadcast_to(colours[0], (*shape, 3)), colours[1], np.clip(share, 0, 1))
    dome = np.sqrt(np.clip(inside, 0, 1)) * np.float32(shape[1] * rng.uniform(0.10, 0.22))
    layers.albedo = mix(layers.albedo, paint, edge)
    layers.height = mix(layers.height, dome + relief, edge)
    layers.gloss = mix(layers.gloss, np.float32(organ.gloss), edge)
    layers.vessels = mix(layers.vessels, np.float32(organ.vessels), edge)
    layers.near = mix(layers.near, np.float32(organ.near * rng.uniform(0.75, 1.1)), edge)


def _form(rng: np.random.Generator, kind: str, shape: tuple[int, int]) -> tuple[Field, Field]:
    """How far inside the organ each point is (outside below 0), and its surface relief."""
    height, width = shape
    if kind == "tube":
        return _tube(rng, shape)
    warp = smooth_noise(rng, shape, cells=4, octaves=3)
    x = (np.arange(width, dtype=np.float32) / width - np.float32(rng.uniform(0.05, 0.95)))[None]
    y = (np.arange(height, dtype=np.float32) / width - np.float32(rng.uniform(0.05, 0.75)))[:, None]
    angle = rng.uniform(0, np.pi)
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    a, b = rng.uniform(0.22, 0.5), rng.uniform(0.16, 0.34)
    along, across = (c * x + s * y) / np.float32(a), (c * y - s * x) / np.float32(b)
    inside: Field = 1 - np.sqrt(along * along + across * across)
    if kind == "lobes":
        cells = rng.uniform(7, 12)
        billow = np.abs(smooth_noise(rng, shape, cells=cells, octaves=2, gain=0.4))
        inside += 0.30 * warp + 0.10 * billow
        relief = -26 * np.exp(-7 * billow) + 3 * smooth_noise(rng, shape, cells=40)
    elif kind == "sheet":
        inside += 0.45 * warp
        folds = np.abs(smooth_noise(rng, shape, cells=5, octaves=3))
        relief = -20 * np.exp(-9 * folds)
    else:
        inside += 0.10 * warp
        relief = 2.5 * smooth_noise(rng, shape, cells=9, octaves=3)
    return inside, relief.astype(np.float32)


def _tube(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[Field, Field]:
    """Bowel or duct: a thick winding line with folds across it."""
    from trocar.train.data.phantom.noise import wander

    height, width = shape
    start = (rng.uniform(0, width), rng.uniform(0, height))
    path = wander(rng, start, steps=24, step=width / 18, bend=0.28)
    radius = width * rng.uniform(0.06, 0.13)
    small = 2
    canvas = np.full((height // small, width // small), 255, np.uint8)
    line = np.round(path / small * 16).astype(np.int32)
    cv2.polylines(canvas, [line], False, 0, 1, cv2.LINE_8, 4)
    far = np.float32(4 * width)  # also where the whole line lies outside the canvas
    distance = np.minimum(cv2.distanceTransform(canvas, cv2.DIST_L2, 5), far) * np.float32(small)
    distance = blur(cv2.resize(distance, (width, height), interpolation=cv2.INTER_LINEAR), 2.0)  # type: ignore[arg-type]
    warp = smooth_noise(rng, shape, cells=7, octaves=2)
    inside: Field = 1 - distance / np.float32(radius) + 0.12 * warp
    rings = np.abs(smooth_noise(rng, shape, cells=rng.uniform(12, 20), octaves=1))
    relief: Field = -5 * np.exp(-8 * rings) + 1.5 * smooth_noise(rng, shape, cells=30)
    return inside, relief


def _add_blood(rng: np.random.Generator, layers: _Layers, look: Look, difficulty: float) -> None:
    shape = (layers.height.shape[0], layers.height.shape[1])
    where = smooth_noise(rng, shape, cells=4, octaves=4, gain=0.55)
    level = 1.25 - 0.75 * difficulty * rng.uniform(0.4, 1.0)
    pool = smoothstep(where, level, level + 0.10)
    stain = 0.55 * smoothstep(where, level - 0.35, level + 0.2)
    red = np.array(look.blood, np.float32)
    layers.albedo = mix(layers.albedo, red, np.maximum(pool * 0.92, stain))
    layers.height = mix(layers.height, blur(layers.height, 6), pool)
    layers.gloss = mix(layers.gloss, np.float32(1.0), pool)
    layers.vessels *= 1 - pool


def _lit(
    rng: np.random.Generator,
    albedo: Field,
    height: Field,
    gloss: Field,
    near: Field,
    look: Look,
) -> NDArray[np.uint8]:
    rows, columns = height.shape
    fine = smooth_noise(rng, (rows, columns), cells=columns / 5, octaves=2)
    bumpy = height + 0.35 * fine
    slope_x = cv2.Sobel(bumpy, cv2.CV_32F, 1, 0, scale=1 / 8)
    slope_y = cv2.Sobel(bumpy, cv2.CV_32F, 0, 1, scale=1 / 8)
    # A light beside the lens: slopes that face the middle of the view are the brighter ones.
    aim_x, aim_y = rng.uniform(0.42, 0.58, 2)
    light_x = ((np.float32(aim_x) - np.arange(columns, dtype=np.float32) / columns) * 1.5)[None]
    light_y = ((np.float32(aim_y) - np.arange(rows, dtype=np.float32) / rows) * 1.5)[:, None]
    normal = 1 / np.sqrt(1 + slope_x * slope_x + slope_y * slope_y)
    aim = 1 / np.sqrt(1 + light_x * light_x + light_y * light_y)
    facing = (1 - slope_x * light_x - slope_y * light_y) * normal * aim
    hollow = np.clip((blur(height, 14) - height) * np.float32(1 / 26), -0.25, 0.75)
    shade = (look.ambient + (1.06 - look.ambient) * np.clip(facing, 0, 1) ** 1.25) * near
    shade *= 1 - hollow
    lit = albedo * (shade * (1 + 0.06 * fine))[..., None]

    # Wet film: its own, smoother ripples on the coarse form decide where light glints.
    film = smooth_noise(rng, (rows, columns), cells=columns / 26, octaves=3, gain=0.6)
    wet_x = blur(slope_x, 1.2) + 0.9 * cv2.Sobel(film, cv2.CV_32F, 1, 0, scale=1 / 2)
    wet_y = blur(slope_y, 1.2) + 0.9 * cv2.Sobel(film, cv2.CV_32F, 0, 1, scale=1 / 2)
    miss_x, miss_y = wet_x + 0.5 * light_x, wet_y + 0.5 * light_y
    off = miss_x * miss_x + miss_y * miss_y
    patches = smoothstep(smooth_noise(rng, (rows, columns), cells=5, octaves=3), -0.15, 0.6)
    glint = gloss * (np.exp(off * -60) * patches * 1.3 + np.exp(off * -7) * 0.13) * near
    lit += (glint * 235)[..., None]
    result: NDArray[np.uint8] = np.clip(lit, 0, 255).astype(np.uint8)
    return result
