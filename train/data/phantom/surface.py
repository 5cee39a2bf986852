"""Shading of an instrument's surface: light, reflected tissue, scratches and blood.

colour = shade(spots, metal, environment, size, blood=domain.blood, seed=7)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trocar.train.data.phantom.domains import Colour, Metal
from trocar.train.data.phantom.noise import Field
from trocar.train.data.phantom.pose import FOCAL

STAIN_TILE = 256


@dataclass(frozen=True)
class Environment:
    """What an instrument reflects, the light on it, and its stains.

    Attributes:
        mirror: ``[3, h * w]`` float32, the blurred lit tissue on a coarse grid.
        lamp: ``[h * w]`` float32, the light's strength on the same grid.
        grid: Rows and columns of that grid.
        stains: ``[2, 256 * 256]`` float32, 0..1: blood and scratches, tileable.
        blood: Fraction of the stain field that is visible, 0..1.
        light: RGB factor.
    """

    mirror: Field
    lamp: Field
    grid: tuple[int, int]
    stains: Field
    blood: float
    light: Colour


@dataclass
class SurfacePoints:
    """Visible points of a surface, each field ``[n]`` float32.

    Attributes:
        x: Column in the frame.
        y: Row in the frame.
        nx: Normal, to the right.
        ny: Normal, down.
        nz: Normal, towards the lens.
        depth: Distance from the lens.
        u: Back along the instrument in radii.
        v: Across it in radii.
        tone: Factor on the material's brightness.
    """

    x: Field
    y: Field
    nx: Field
    ny: Field
    nz: Field
    depth: Field
    u: Field
    v: Field
    tone: Field


def shade(
    spots: SurfacePoints,
    metal: Metal,
    environment: Environment,
    size: tuple[int, int],
    *,
    blood: Colour,
    seed: int,
) -> Field:
    """Colour of each point, ``[3, n]`` float32, 0..255, above 255 for highlights."""
    height, width = size
    nx, ny, nz = spots.nx, spots.ny, spots.nz
    # From the surface to the lamp, which sits up and to the right of the lens.
    scale = np.float32(1 / (FOCAL * width))
    lx = (np.float32(width / 2) - spots.x) * scale + np.float32(0.10)
    ly = (np.float32(height / 2) - spots.y) * scale - np.float32(0.14)
    norm = 1 / np.sqrt(lx * lx + ly * ly + 1)
    facing = np.clip((nx * lx + ny * ly + nz) * norm, 0, 1)
    # The half vector; the exponential approximates a power of the cosine.
    lx *= norm
    ly *= norm
    hz = 1 + norm
    shine = (nx * lx + ny * ly + nz * hz) / np.sqrt(lx * lx + ly * ly + hz * hz)
    shine = np.exp((shine - 1) * np.float32(2.2 * metal.exponent))

    seen, lamp = _mirrored(spots, environment, size)
    tu = (spots.u * np.float32(22) + np.float32(seed % 4096)).astype(np.int32) & 255
    tv = (spots.v * np.float32(30) + np.float32(seed // 4096)).astype(np.int32) & 255
    place = tv * STAIN_TILE + tu
    stain, scratch = environment.stains[0].take(place), environment.stains[1].take(place)

    strength = np.clip(0.72 / np.maximum(spots.depth, 0.2), 0.4, 2.0) * lamp
    lit = spots.tone * strength
    rough = 0.75 + 0.5 * scratch
    body = (0.14 + 0.86 * facing * facing) * rough * lit
    edge = np.float32(metal.mirror) * (0.5 + 0.9 * (1 - nz) ** 2) * spots.tone * rough
    shine *= np.float32(235 * metal.strength) * rough * lit
    level = 1 - np.float32(environment.blood) * np.exp(-np.maximum(spots.u, 0) * np.float32(1 / 8))
    wet = np.clip((stain - level) * 3.2, 0, 0.8)
    shine *= 1 - 0.5 * wet
    dry = 1 - wet
    film = wet * (0.25 + 0.75 * facing) * strength
    colour = np.empty((3, nx.size), np.float32)
    for c in range(3):
        light = np.float32(environment.light[c])
        base = np.float32(metal.colour[c] * (1 - 0.5 * metal.mirror)) * light
        plain = body * base + seen[c] * edge
        colour[c] = plain * dry + film * np.float32(blood[c]) * light + shine * light
        # A thin film of blood absorbs green and blue.
        if c:
            colour[c] -= plain * dry * np.minimum(wet * 0.9, 0.5)
    return colour


def _mirrored(
    spots: SurfacePoints, environment: Environment, size: tuple[int, int]
) -> tuple[Field, Field]:
    """The tissue seen in the surface, ``[3, n]``, and the lamp's strength at each point."""
    height, width = size
    rows, columns = environment.grid
    # The more a surface is tilted, the farther away is what it reflects.
    reach = np.float32(0.22 * width)
    to_column, to_row = np.float32(columns / width), np.float32(rows / height)
    column = np.clip((spots.x + spots.nx * reach) * to_column, 0, columns - 1).astype(np.int32)
    row = np.clip((spots.y + spots.ny * reach) * to_row, 0, rows - 1).astype(np.int32)
    seen: Field = environment.mirror.take(row * columns + column, axis=1)
    here = np.minimum(spots.x * to_column, columns - 1).astype(np.int32)
    here += np.minimum(spots.y * to_row, rows - 1).astype(np.int32) * columns
    lamp: Field = environment.lamp.take(here)
    return seen, lamp


def stain_tile(rng: np.random.Generator) -> Field:
    """Tileable fields of blood and scratches: noise made periodic by its spectrum."""
    fx = np.fft.fftfreq(STAIN_TILE)[None] * STAIN_TILE
    fy = np.fft.fftfreq(STAIN_TILE)[:, None] * STAIN_TILE
    fields: list[NDArray[np.float64]] = []
    for stretch, slope in ((1.0, 1.6), (0.3, 1.0)):
        radius = np.sqrt((fx * stretch) ** 2 + fy**2 / stretch)
        radius[0, 0] = 1
        spectrum = np.exp(2j * np.pi * rng.random((STAIN_TILE, STAIN_TILE))) / radius**slope
        spectrum[0, 0] = 0
        field = np.fft.ifft2(spectrum).real
        fields.append(np.clip(0.5 + 0.2 * (field - field.mean()) / field.std(), 0, 1))
    result: Field = np.stack(fields).reshape(2, -1).astype(np.float32)
    return result
