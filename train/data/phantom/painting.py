"""Draws instruments into a frame: silhouettes, metal, reflections, blood; and the ground truth.

layer = paint(rig, pose, look, tissue, stains, size)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.train.data.phantom.anatomy import ANATOMY, Jaw
from trocar.train.data.phantom.looks import Look, Metal
from trocar.train.data.phantom.noise import Field
from trocar.train.data.phantom.pose import FOCAL, Pose, Rig, Vector, project

GOLD = Metal(colour=(178, 146, 78), mirror=0.35, exponent=26, strength=0.9)
CERAMIC = Metal(colour=(212, 206, 192), mirror=0.12, exponent=20, strength=0.6)

SHAFT, WRIST, CLASPER = 1, 2, 3


@dataclass
class Layer:
    """One painted instrument within its box of the frame.

    Attributes:
        box: Left, top, right, bottom in pixels.
        colour: ``[h, w, 3]`` float32, premultiplied by the cover.
        cover: ``[h, w]`` float32, 0..1.
        parts: ``[h, w]`` uint8.
        tips: ``[n, 2]`` pixels.
        outline: Corner points of the shaft's silhouette, for its shadow.
    """

    box: tuple[int, int, int, int]
    colour: Field
    cover: Field
    parts: NDArray[np.uint8]
    tips: Vector
    outline: list[Vector]


@dataclass(frozen=True)
class Surroundings:
    """What an instrument mirrors and is stained with.

    Attributes:
        mirror: ``[h, w, 3]`` float32, the blurred tissue on a coarse grid.
        stains: ``[256, 256, 2]`` float32, 0..1: blood and scratches, tileable.
        blood: How much of the stain field shows, 0..1.
        light: RGB factor.
    """

    mirror: Field
    stains: Field
    blood: float
    light: tuple[float, float, float]


def paint(
    rig: Rig, pose: Pose, look: Look, around: Surroundings, size: tuple[int, int]
) -> Layer | None:
    """Paints an instrument; ``None`` where none of it is in the frame."""
    anatomy = ANATOMY[rig.kind]
    shaft, normal_s = _lathe(pose.port, pose.joint, ((0.0, 1.0), (1.0, 1.0)), rig.radius, size)
    length = float(np.linalg.norm(pose.hinge - pose.joint))
    stations = tuple((a * rig.radius / length, r) for a, r in anatomy.wrist)
    last = stations[-1][0]
    stations = tuple((a / last, r) for a, r in stations)
    wrist, normal_w = _lathe(pose.joint, pose.hinge, stations, rig.radius, size)
    jaws = [(jaw, *_jaw_outlines(jaw, rig, pose, anatomy.opening, size)) for jaw in anatomy.jaws]
    faces = [face for _, polygons, _, _ in jaws for face in polygons[:2]]
    everything = np.concatenate([shaft, wrist, *faces])
    box = _box(everything, size)
    if box is None:
        return None
    left, top, right, bottom = box
    canvas = Layer(
        box,
        np.zeros((bottom - top, right - left, 3), np.float32),
        np.zeros((bottom - top, right - left), np.float32),
        np.zeros((bottom - top, right - left), np.uint8),
        np.concatenate([tips for _, _, _, tips in jaws]),
        [shaft, wrist, *faces],
    )
    brush = _Brush(rig, look, around, size, canvas)
    far_jaws, near_jaws = jaws[:-1], jaws[-1:]
    for jaw, polys, hole, _ in far_jaws:
        brush.plate(jaw, polys, hole, pose)
    surface = CERAMIC if anatomy.wrist_material == "ceramic" else look.wrist
    brush.rod([shaft], pose.port, pose.joint, normal_s, rig.shaft, SHAFT)
    for jaw, polys, hole, _ in near_jaws:
        brush.plate(jaw, polys, hole, pose)
    brush.rod([wrist], pose.joint, pose.hinge, normal_w, surface, WRIST)
    return canvas


class _Brush:
    """Fills silhouettes of one instrument with shaded material."""

    def __init__(
        self, rig: Rig, look: Look, around: Surroundings, size: tuple[int, int], layer: Layer
    ) -> None:
        self.rig, self.look, self.around, self.size, self.layer = rig, look, around, size, layer

    def rod(
        self,
        polygons: list[Vector],
        start: Vector,
        stop: Vector,
        normal: Vector,
        metal: Metal,
        part: int,
    ) -> None:
        """A turned piece: its normals follow from the distance to the axis."""
        cover, (left, top) = self._mask(polygons, None)
        if cover is None:
            return
        ys, xs = np.nonzero(cover)
        if ys.size == 0:
            return
        ends = project(np.stack([start, stop]), self.size)
        axis = ends[1] - ends[0]
        span = max(float(axis @ axis), 1.0)
        px = (xs + left).astype(np.float32) - np.float32(ends[0, 0])
        py = (ys + top).astype(np.float32) - np.float32(ends[0, 1])
        t = (px * np.float32(axis[0]) + py * np.float32(axis[1])) * np.float32(1 / span)
        off = px * np.float32(normal[0]) + py * np.float32(normal[1])
        scale = FOCAL * self.size[1] * self.rig.radius
        w0, w1 = scale / max(start[2], 0.05), scale / max(stop[2], 0.05)
        # Depth is linear in 1/z along the picture of the axis.
        half = np.float32(w0) + np.float32(w1 - w0) * t
        v = np.clip(off / np.maximum(half, 1), -0.98, 0.98)
        toward = np.sqrt(1 - v * v)
        nx, ny = v * np.float32(normal[0]), v * np.float32(normal[1])
        distance = float(np.linalg.norm(stop - start)) / self.rig.radius
        z = np.float32(scale) / np.maximum(half, 1)
        z *= np.float32(1 / self.rig.radius)
        depth = z * self.rig.radius
        # True length along the rod, perspective taken out.
        z0, z1 = max(float(start[2]), 0.05), max(float(stop[2]), 0.05)
        true = (depth - z0) / (z1 - z0) if abs(z1 - z0) > 1e-3 else t
        u = (1 - true) * np.float32(distance)  # radii back from the end
        tone = np.ones_like(u)
        if part == SHAFT:
            tone = self._marks(u)
        elif part == WRIST:
            tone = 1 - 0.35 * np.exp(-((u - np.float32(distance * 0.93)) ** 2) * 20)
        self._shade(ys, xs, (left, top), cover, (nx, ny, toward), depth, u, v, tone, metal, part)

    def plate(
        self, jaw: Jaw, polygons: list[Vector], hole: list[Vector] | None, pose: Pose
    ) -> None:
        """A jaw: normals swell from its silhouette inwards, as on a polished casting."""
        cover, (left, top) = self._mask(polygons, hole)
        if cover is None:
            return
        ys, xs = np.nonzero(cover)
        if ys.size == 0:
            return
        radius = FOCAL * self.size[1] * self.rig.radius / max(float(pose.hinge[2]), 0.1)
        inner = cv2.distanceTransform((cover > 127).astype(np.uint8), cv2.DIST_L2, 3)
        bevel = max(radius * 0.34, 1.5)
        swell = np.sqrt(1 - (1 - np.minimum(inner / np.float32(bevel), 1)) ** 2) * np.float32(bevel)
        swell = cv2.GaussianBlur(swell, (0, 0), max(bevel * 0.28, 0.6))
        gx = cv2.Sobel(swell, cv2.CV_32F, 1, 0, scale=1 / 8)[ys, xs]
        gy = cv2.Sobel(swell, cv2.CV_32F, 0, 1, scale=1 / 8)[ys, xs]
        # The plane of the jaw tips the whole surface.
        face = np.cross(pose.along, pose.side)
        face = face if face[2] < 0 else -face
        nx = -gx + np.float32(0.5 * face[0])
        ny = -gy + np.float32(0.5 * face[1])
        length = 1 / np.sqrt(1 + nx * nx + ny * ny)
        hinge = project(pose.hinge[None], self.size)[0]
        ahead = project((pose.hinge + pose.along * 0.02)[None], self.size)[0] - hinge
        ahead = ahead / max(float(np.linalg.norm(ahead)), 1e-6)
        px = (xs + left).astype(np.float32) - np.float32(hinge[0])
        py = (ys + top).astype(np.float32) - np.float32(hinge[1])
        u = (px * np.float32(ahead[0]) + py * np.float32(ahead[1])) * np.float32(1 / radius)
        v = (py * np.float32(ahead[0]) - px * np.float32(ahead[1])) * np.float32(1 / radius)
        depth = np.full_like(u, float(pose.hinge[2]))
        metal = GOLD if jaw.material == "gold" else self.look.jaw
        tone = np.ones_like(u)
        if self.rig.kind == "suction":
            holes = np.minimum(
                np.minimum((u - 1.0) ** 2 + (v - 0.2) ** 2, (u - 1.9) ** 2 + (v + 0.25) ** 2),
                (u - 2.6) ** 2 + (v - 0.15) ** 2,
            )
            tone = np.where(holes < 0.045, np.float32(0.12), np.float32(1))
        elif jaw.material == "gold":
            # Cross-hatched inserts.
            hatch = np.sin((u + v) * 24) * np.sin((u - v) * 24)
            tone = 1 + 0.18 * hatch
        self._shade(
            ys, xs, (left, top), cover, (nx * length, ny * length, length), depth, -u, v, tone,
            metal, CLASPER,
        )  # fmt: skip

    def _marks(self, u: Field) -> Field:
        tone = np.ones_like(u)
        tone *= 1 - 0.5 * np.exp(-((u - 0.25) ** 2) * 30)
        if self.rig.ring > 0:
            tone += 1.5 * (np.abs(u - np.float32(self.rig.ring)) < 0.35)
        return tone

    def _mask(
        self, polygons: list[Vector], hole: list[Vector] | None
    ) -> tuple[NDArray[np.uint8] | None, tuple[int, int]]:
        box = _box(np.concatenate(polygons), self.size)
        if box is None:
            return None, (0, 0)
        left, top, right, bottom = box
        mask = np.zeros((bottom - top, right - left), np.uint8)
        for polygon in polygons:
            cv2.fillPoly(mask, [_fixed(polygon, left, top)], 255, cv2.LINE_AA, 4)
        if hole is not None:
            window = np.full_like(mask, 255)
            for polygon in hole:
                one = np.zeros_like(mask)
                cv2.fillPoly(one, [_fixed(polygon, left, top)], 255, cv2.LINE_AA, 4)
                window = np.minimum(window, one)
            mask = np.minimum(mask, 255 - window)
        return mask, (left, top)

    def _shade(
        self,
        ys: NDArray[np.intp],
        xs: NDArray[np.intp],
        corner: tuple[int, int],
        cover: NDArray[np.uint8],
        normal: tuple[Field, Field, Field],
        depth: Field,
        u: Field,
        v: Field,
        tone: Field,
        metal: Metal,
        part: int,
    ) -> None:
        height, width = self.size
        nx, ny, nz = normal
        left, top = corner
        gx, gy = xs + left, ys + top
        # From the surface to the light beside the lens.
        scale = np.float32(1 / (FOCAL * width))
        lx = (np.float32(width / 2) - gx) * scale + np.float32(0.10)
        ly = (np.float32(height / 2) - gy) * scale - np.float32(0.14)
        norm = 1 / np.sqrt(lx * lx + ly * ly + 1)
        facing = np.clip((nx * lx + ny * ly + nz) * norm, 0, 1)
        hx, hy = lx * 0.5 * norm, ly * 0.5 * norm
        hz = 0.5 + 0.5 * norm
        shine = (nx * hx + ny * hy + nz * hz) / np.sqrt(hx * hx + hy * hy + hz * hz)
        shine = np.exp((shine - 1) * np.float32(2.2 * metal.exponent))
        # The mirrored tissue: the more a surface leans, the farther off it looks.
        rows, columns = self.around.mirror.shape[:2]
        reach = np.float32(0.22 * width)
        mx = np.clip((gx + nx * reach) * np.float32(columns / width), 0, columns - 1).astype(
            np.intp
        )
        my = np.clip((gy + ny * reach) * np.float32(rows / height), 0, rows - 1).astype(np.intp)
        seen = self.around.mirror[my, mx]
        strength = np.clip(0.8 / np.maximum(depth, 0.2), 0.5, 2.4) ** 1.5
        seed = self.rig.texture
        tu = (u * np.float32(22) + seed).astype(np.intp) & 255
        tv = (v * np.float32(30) + seed // 7).astype(np.intp) & 255
        stain, scratch = self.around.stains[tv, tu, 0], self.around.stains[tv, tu, 1]
        body = (0.16 + 0.84 * facing) * (0.82 + 0.36 * scratch) * tone * strength
        base = np.array(metal.colour, np.float32) * np.array(self.around.light, np.float32)
        edge = np.float32(metal.mirror) * (0.55 + 0.9 * (1 - nz) ** 2)
        colour = body[:, None] * base * (1 - metal.mirror * 0.5)
        colour += seen * (edge * tone * (0.6 + 0.4 * scratch))[:, None]
        shine *= np.float32(255 * metal.strength) * strength * (0.6 + 0.5 * scratch) * tone
        # Blood clings to the working end.
        level = 1 - self.around.blood * np.exp(-np.maximum(u, 0) * np.float32(1 / 7.0))
        wet = np.clip((stain - level) * 7, 0, 0.88)
        red = np.array(self.look.blood, np.float32)
        colour += (red * (0.35 + 0.8 * facing)[:, None] - colour) * wet[:, None]
        colour += (shine * (1 - 0.6 * wet))[:, None] * np.array(self.around.light, np.float32)
        self._blend(ys, xs, corner, cover, colour, part)

    def _blend(
        self,
        ys: NDArray[np.intp],
        xs: NDArray[np.intp],
        corner: tuple[int, int],
        cover: NDArray[np.uint8],
        colour: Field,
        part: int,
    ) -> None:
        layer = self.layer
        ly, lx = ys + (corner[1] - layer.box[1]), xs + (corner[0] - layer.box[0])
        alpha = cover[ys, xs].astype(np.float32) * np.float32(1 / 255)
        keep = 1 - alpha
        layer.colour[ly, lx] = layer.colour[ly, lx] * keep[:, None] + colour * alpha[:, None]
        layer.cover[ly, lx] = layer.cover[ly, lx] * keep + alpha
        solid = alpha >= 0.5
        layer.parts[ly[solid], lx[solid]] = part


def _lathe(
    start: Vector,
    stop: Vector,
    profile: tuple[tuple[float, float], ...],
    radius: float,
    size: tuple[int, int],
) -> tuple[Vector, Vector]:
    """Silhouette polygon of a turned piece, and the picture's unit normal to its axis."""
    t = np.array([p[0] for p in profile])[:, None]
    centres = start + (stop - start) * t
    picture = project(centres, size)
    axis = picture[-1] - picture[0]
    length = max(math.hypot(axis[0], axis[1]), 1e-6)
    normal = np.array([-axis[1], axis[0]]) / length
    half = FOCAL * size[1] * radius / np.maximum(centres[:, 2:3], 0.05)
    half = half * np.array([p[1] for p in profile])[:, None]
    polygon = np.concatenate([picture + normal * half, (picture - normal * half)[::-1]])
    return polygon, normal


def _jaw_outlines(
    jaw: Jaw, rig: Rig, pose: Pose, widest: float, size: tuple[int, int]
) -> tuple[list[Vector], list[Vector] | None, Vector]:
    """Silhouette polygons of a jaw (its two faces and its rim), its window, and its tip."""
    angle = jaw.swing * widest * pose.opening
    c, s = math.cos(angle), math.sin(angle)
    along, side = c * pose.along + s * pose.side, c * pose.side - s * pose.along
    across = np.cross(along, side) * (jaw.thickness * rig.radius / 2)

    def placed(outline: NDArray[np.float32]) -> Vector:
        flat = outline.astype(np.float64) * rig.radius
        result: Vector = pose.hinge + flat[:, :1] * along + flat[:, 1:] * side
        return result

    solid = placed(jaw.outline)
    top, under = project(solid - across, size), project(solid + across, size)
    rim = [np.stack([top[i - 1], top[i], under[i], under[i - 1]]) for i in range(len(top))]
    polygons = [top, under, *rim]
    hole = None
    if jaw.hole is not None:
        window = placed(jaw.hole)
        hole = [project(window - across, size), project(window + across, size)]
    tip = placed(np.array([jaw.tip], np.float32))
    return polygons, hole, project(tip, size)


def _box(points: Vector, size: tuple[int, int]) -> tuple[int, int, int, int] | None:
    low, high = points.min(0) - 2, points.max(0) + 3
    left, top = max(int(low[0]), 0), max(int(low[1]), 0)
    right, bottom = min(int(high[0]) + 1, size[1]), min(int(high[1]) + 1, size[0])
    return (left, top, right, bottom) if right > left and bottom > top else None


def _fixed(polygon: Vector, left: int, top: int) -> NDArray[np.int32]:
    return np.round((polygon - (left, top)) * 16).astype(np.int32)
