"""The operating field: organs, folds, fat, vessels, blood and wet highlights on one canvas.

canvas = make_tissue(np.random.default_rng(0), DOMAINS["robotic"], (640, 800), difficulty=0.5)
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.train.data.phantom.domains import Domain, Organ
from trocar.train.data.phantom.noise import Field, blur, mix, moved, smooth_noise, smoothstep
from trocar.train.data.phantom.organ_shapes import organ_shape
from trocar.train.data.phantom.tissue_details import draw_strands, draw_vessels, lay_gauze

STEEPEST = 1.25
"""Slopes bend towards this limit: tissue edges are round, not cut with a knife."""


@dataclass
class Layers:
    """The layers of the field at half the canvas size; all ``[h, w]`` float32.

    Attributes:
        albedo: ``[h, w, 3]``, 0..255.
        height: In pixels.
        gloss: Wetness 0..1.
        vessels: Density of vessels 0..1.
        near: Brightness factor for its distance to the light.
    """

    albedo: Field
    height: Field
    gloss: Field
    vessels: Field
    near: Field


def make_tissue(
    rng: np.random.Generator, domain: Domain, shape: tuple[int, int], *, difficulty: float
) -> NDArray[np.uint8]:
    """Renders the field of one scene.

    Returns:
        ``[H, W, 3]`` uint8 RGB, lit, with wet highlights.
    """
    half = ((shape[0] + 1) // 2, (shape[1] + 1) // 2)
    layers = _wall(rng, domain, half)
    weights = np.array([organ.weight for organ in domain.organs])
    for _ in range(int(rng.integers(5, 8))):
        organ = domain.organs[int(rng.choice(len(weights), p=weights / weights.sum()))]
        _add_organ(rng, layers, organ)
    if rng.random() < 0.2 + 0.3 * difficulty:
        lay_gauze(rng, layers.albedo, layers.height, layers.gloss, layers.vessels, layers.near)
    _add_blood(rng, layers, domain, difficulty)
    draw_strands(rng, layers.albedo, layers.height, layers.gloss)
    shade, miss, wet = _light(rng, layers, domain)
    size = (shape[1], shape[0])
    large = cv2.resize(layers.albedo, size, interpolation=cv2.INTER_LINEAR)
    albedo = draw_vessels(rng, np.asarray(large, np.float32), layers.vessels, domain)
    fields = cv2.resize(cv2.merge([shade, miss, wet]), size, interpolation=cv2.INTER_LINEAR)
    shade, miss, wet = (np.asarray(field, np.float32) for field in cv2.split(fields))
    # Capillaries and pores, which are too fine for a relief.
    fine = smooth_noise(rng, shape, cells=shape[1] / 4)
    shade *= 1 + 0.045 * fine
    glint = wet * np.exp(miss * -np.float32(1))
    canvas = cv2.multiply(albedo, cv2.merge([shade, shade, shade]))
    canvas = cv2.add(canvas, cv2.merge([glint, glint, glint]))
    # The exposure control of the camera.
    gain = domain.brightness / max(float(cv2.mean(cv2.resize(canvas, (64, 64)))[0]), 1.0)
    # OpenCV reads four float64 numbers as one value per channel.
    factors = np.full(4, np.clip(gain, 0.6, 1.7))
    return np.asarray(cv2.multiply(canvas, factors, dtype=cv2.CV_8U), np.uint8)


def _wall(rng: np.random.Generator, domain: Domain, shape: tuple[int, int]) -> Layers:
    share = smooth_noise(rng, shape, cells=3, octaves=3) * 0.5 + 0.5
    albedo = np.empty((*shape, 3), np.float32)
    albedo[:] = domain.wall[0]
    albedo = mix(albedo, np.array(domain.wall[1], np.float32), share)
    height = 14 * smooth_noise(rng, shape, cells=2.5, octaves=4, gain=0.42)
    ones = np.ones(shape, np.float32)
    deep = np.float32(rng.uniform(0.35, 0.7))
    return Layers(albedo, height, ones * 0.15, ones * 0.6, ones * deep)


def _add_organ(rng: np.random.Generator, layers: Layers, organ: Organ) -> None:
    shape = (layers.height.shape[0], layers.height.shape[1])
    inside, relief = organ_shape(rng, organ.kind, shape)
    edge = smoothstep(inside, 0.0, 0.03)
    # The organ casts a shadow on the layers below, on the side away from the lamp.
    under = moved(blur(edge, shape[1] / 45), -shape[1] / 160, shape[1] / 70)
    layers.near *= 1 - 0.6 * under
    share = smooth_noise(rng, shape, cells=5, octaves=5, gain=0.6) * 0.8 + 0.5
    tone = np.float32(rng.uniform(0.85, 1.12)) * (1 + rng.normal(0, 0.04, 3)).astype(np.float32)
    first, second = np.array(organ.colours, np.float32) * tone
    paint = mix(np.broadcast_to(first, (*shape, 3)), second, np.clip(share, 0, 1))
    # Redness varies over the organ.
    flush = np.maximum(smooth_noise(rng, shape, cells=9, octaves=3), -0.15)
    paint = paint * (1 + flush[..., None] * np.array((0.04, -0.09, -0.08), np.float32))
    rise = 1 - np.clip(inside * np.float32(1.6), 0, 1)
    dome = np.sqrt(1 - rise * rise) * np.float32(shape[1] * rng.uniform(0.09, 0.17))
    layers.albedo = mix(layers.albedo, paint, edge)
    layers.height = mix(layers.height, dome + relief, edge)
    layers.gloss = mix(layers.gloss, np.float32(organ.gloss), edge)
    layers.vessels = mix(layers.vessels, np.float32(organ.vessels), edge)
    layers.near = mix(layers.near, np.float32(organ.near * rng.uniform(0.7, 1.1)), edge)


def _add_blood(rng: np.random.Generator, layers: Layers, domain: Domain, difficulty: float) -> None:
    shape = (layers.height.shape[0], layers.height.shape[1])
    where = smooth_noise(rng, shape, cells=4, octaves=4, gain=0.55)
    level = 1.3 - 0.75 * difficulty * float(rng.uniform(0.3, 1.0))
    pool = smoothstep(where, level, level + 0.10)
    stain = 0.5 * smoothstep(where, level - 0.35, level + 0.2)
    layers.albedo = mix(
        layers.albedo, np.array(domain.blood, np.float32), np.maximum(pool * 0.9, stain)
    )
    layers.height = mix(layers.height, blur(layers.height, 5), pool)
    layers.gloss = mix(layers.gloss, np.float32(1.0), pool)
    layers.vessels *= 1 - pool


def _light(rng: np.random.Generator, layers: Layers, domain: Domain) -> tuple[Field, Field, Field]:
    """Shade, distance of each point to a highlight (0: full), and strength of the highlight."""
    height = layers.height
    rows, columns = height.shape
    bumpy = height + 0.30 * smooth_noise(rng, (rows, columns), cells=columns / 9, octaves=2)
    slope_x, slope_y = _slopes(bumpy)
    # The lamp is beside the lens: slopes that face the centre of the view are brighter.
    aim_x, aim_y = rng.uniform(0.42, 0.58), rng.uniform(0.3, 0.5)
    light_x = ((np.float32(aim_x) - np.arange(columns, dtype=np.float32) / columns) * 1.5)[None]
    light_y = ((np.float32(aim_y) - np.arange(rows, dtype=np.float32) / rows) * 1.5)[:, None]
    normal = 1 / np.sqrt(1 + slope_x * slope_x + slope_y * slope_y)
    aim = 1 / np.sqrt(1 + light_x * light_x + light_y * light_y)
    facing = np.clip((1 - slope_x * light_x - slope_y * light_y) * normal * aim, 0, 1)
    hollow = np.clip((blur(height, 9) - height) * np.float32(1 / 18), -0.12, 0.42)
    shade = (domain.ambient + (1.1 - domain.ambient) * facing) * layers.near * (1 - hollow)
    # Ripples of the wet film on the smoothed relief decide where highlights are.
    film = smooth_noise(rng, (rows, columns), cells=columns / 14, octaves=2, gain=0.7)
    wet_x = blur(slope_x, 1.0) + 1.5 * cv2.Sobel(film, cv2.CV_32F, 1, 0, scale=1 / 4)
    wet_y = blur(slope_y, 1.0) + 1.5 * cv2.Sobel(film, cv2.CV_32F, 0, 1, scale=1 / 4)
    miss_x, miss_y = wet_x + 0.5 * light_x, wet_y + 0.5 * light_y
    patches = smoothstep(smooth_noise(rng, (rows, columns), cells=5, octaves=3), -0.1, 0.7)
    wet = layers.gloss * layers.near
    off = miss_x * miss_x + miss_y * miss_y
    # A broad gloss everywhere, and highlights only in patches.
    shade = shade * (1 + 0.25 * layers.gloss * np.exp(off * -4))
    return shade, np.minimum(off * 38, 12), wet * (25 + 330 * patches)


def _slopes(height: Field) -> tuple[Field, Field]:
    x = cv2.Sobel(height, cv2.CV_32F, 1, 0, scale=1 / 8)
    y = cv2.Sobel(height, cv2.CV_32F, 0, 1, scale=1 / 8)
    bend = 1 / np.sqrt(1 + (x * x + y * y) * np.float32(1 / STEEPEST**2))
    return x * bend, y * bend
