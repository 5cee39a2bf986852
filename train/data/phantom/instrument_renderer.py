"""Renders an instrument: its parts from far to near, shaded, with their ground truth.

layer = render_instrument(rig, pose, domain, environment, size)
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.train.data.phantom.domains import Domain, Metal
from trocar.train.data.phantom.instrument_shapes import INSTRUMENT_SHAPES, Jaw
from trocar.train.data.phantom.noise import Field
from trocar.train.data.phantom.pose import FOCAL, Pose, Rig, Vector, project
from trocar.train.data.phantom.silhouette import Box, bounds, filled, jaw_outlines, lathe
from trocar.train.data.phantom.surface import Environment, SurfacePoints, shade

SHAFT, WRIST, CLASPER = 1, 2, 3
NEAREST = 0.05


@dataclass
class Layer:
    """One rendered instrument within its box of the frame.

    Attributes:
        box: Left, top, right, bottom in pixels.
        planes: ``[4, h * w]`` float32: RGB premultiplied by the cover, and the cover 0..1.
        parts: ``[h, w]`` uint8, 0 where less than half a pixel is covered.
        tips: ``[n, 2]`` pixels.
        outlines: Silhouettes, for the shadow.
    """

    box: Box
    planes: Field
    parts: NDArray[np.uint8]
    tips: Vector
    outlines: list[Vector]


def render_instrument(
    rig: Rig, pose: Pose, domain: Domain, environment: Environment, size: tuple[int, int]
) -> Layer | None:
    """Renders an instrument; ``None`` if no part of it is in the frame."""
    instrument = INSTRUMENT_SHAPES[rig.kind]
    end = instrument.wrist[-1][0]
    profile = tuple((along / end, radius) for along, radius in instrument.wrist)
    shaft, across_shaft = lathe(pose.port, pose.joint, ((0, 1), (1, 1)), rig.radius, size)
    wrist, across_wrist = lathe(pose.joint, pose.hinge, profile, rig.radius, size)
    jaws = [
        (jaw, *jaw_outlines(jaw, rig, pose, instrument.opening, size)) for jaw in instrument.jaws
    ]
    faces = [face for _, polygons, _, _ in jaws for face in polygons[:2]]
    box = bounds(np.concatenate([shaft, wrist, *faces]), size)
    if box is None:
        return None
    shape = (box[3] - box[1], box[2] - box[0])
    layer = Layer(
        box=box,
        planes=np.zeros((4, shape[0] * shape[1]), np.float32),
        parts=np.zeros(shape, np.uint8),
        tips=np.concatenate([tip for _, _, _, tip in jaws]),
        outlines=[shaft, wrist, *faces],
    )
    renderer = _Renderer(rig, domain, environment, size, layer)
    for jaw, polygons, hole, _ in jaws[:-1]:
        renderer.jaw(jaw, polygons, hole, pose)
    renderer.rod(shaft, (pose.port, pose.joint), across_shaft, rig.shaft, SHAFT)
    jaw, polygons, hole, _ = jaws[-1]
    renderer.jaw(jaw, polygons, hole, pose)
    metal = domain.insulation if instrument.wrist_material == "insulation" else domain.wrist
    renderer.rod(wrist, (pose.joint, pose.hinge), across_wrist, metal, WRIST)
    return layer


class _Renderer:
    """Fills silhouettes of one instrument with shaded material."""

    def __init__(
        self,
        rig: Rig,
        domain: Domain,
        environment: Environment,
        size: tuple[int, int],
        layer: Layer,
    ) -> None:
        self.rig, self.domain, self.environment, self.size, self.layer = (
            rig,
            domain,
            environment,
            size,
            layer,
        )

    def rod(
        self, polygon: Vector, ends: tuple[Vector, Vector], across: Vector, metal: Metal, part: int
    ) -> None:
        """A solid of revolution: its normals follow from the distance to the axis."""
        found = filled([polygon], None, self.size)
        if found is None:
            return
        cover, box = found
        ys, xs = np.nonzero(cover)
        x, y = (xs + box[0]).astype(np.float32), (ys + box[1]).astype(np.float32)
        first, last = project(np.stack(ends), self.size)
        axis = last - first
        span = max(float(axis @ axis), 1.0)
        px, py = x - np.float32(first[0]), y - np.float32(first[1])
        t = (px * np.float32(axis[0]) + py * np.float32(axis[1])) * np.float32(1 / span)
        # 1/z, and with it the image's half width, is linear along the image of the axis.
        z0, z1 = max(float(ends[0][2]), NEAREST), max(float(ends[1][2]), NEAREST)
        inverse = np.maximum(np.float32(1 / z0) + np.float32(1 / z1 - 1 / z0) * t, 0.1)
        half = inverse * np.float32(FOCAL * self.size[1] * self.rig.radius)
        nx, ny = np.float32(across[0]), np.float32(across[1])
        v = np.clip((px * nx + py * ny) / np.maximum(half, 1), -0.98, 0.98)
        depth = 1 / inverse
        true = (depth - np.float32(z0)) / np.float32(z1 - z0) if abs(z1 - z0) > 1e-3 else t
        length = float(np.linalg.norm(ends[1] - ends[0])) / self.rig.radius
        u = (1 - true) * np.float32(length)
        tone = self._marks(u) if part == SHAFT else _pin(u, v, self.rig.kind)
        spots = SurfacePoints(x, y, v * nx, v * ny, np.sqrt(1 - v * v), depth, u, v, tone)
        self._lay(spots, metal, (ys, xs), cover, box, part)

    def jaw(self, jaw: Jaw, polygons: list[Vector], hole: list[Vector] | None, pose: Pose) -> None:
        """A jaw: its surface is rounded from the silhouette inwards."""
        found = filled(polygons, hole, self.size)
        if found is None:
            return
        cover, box = found
        ys, xs = np.nonzero(cover)
        radius = FOCAL * self.size[1] * self.rig.radius / max(float(pose.hinge[2]), 0.1)
        gx, gy = _swell(cover, max(radius * 0.34, 1.5))
        # The plane of the jaw tilts the whole surface.
        face = np.cross(pose.along, pose.side)
        face = face if face[2] < 0 else -face
        nx = np.float32(0.5 * face[0]) - gx[ys, xs]
        ny = np.float32(0.5 * face[1]) - gy[ys, xs]
        nz = 1 / np.sqrt(1 + nx * nx + ny * ny)
        hinge, ahead = project(np.stack([pose.hinge, pose.hinge + pose.along * 0.02]), self.size)
        ahead = ahead - hinge
        ahead = ahead / max(float(np.sqrt(ahead @ ahead)), 1e-6)
        x, y = (xs + box[0]).astype(np.float32), (ys + box[1]).astype(np.float32)
        px = (x - np.float32(hinge[0])) * np.float32(1 / radius)
        py = (y - np.float32(hinge[1])) * np.float32(1 / radius)
        u = px * np.float32(ahead[0]) + py * np.float32(ahead[1])
        v = py * np.float32(ahead[0]) - px * np.float32(ahead[1])
        tone = np.ones_like(u)
        if self.rig.kind == "suction":
            for along, aside in ((1.0, 0.22), (1.8, -0.24), (2.4, 0.2)):
                tone -= 0.85 * ((u - along) ** 2 + (v - aside) ** 2 < 0.035)
        elif jaw.material == "insert":
            # Cross-hatched inserts.
            tone += 0.15 * np.sin((u + v) * 24) * np.sin((u - v) * 24)
        depth = np.full_like(u, float(pose.hinge[2]))
        spots = SurfacePoints(x, y, nx * nz, ny * nz, nz, depth, -u, v, tone)
        metal = self.domain.insert if jaw.material == "insert" else self.domain.jaw
        self._lay(spots, metal, (ys, xs), cover, box, CLASPER)

    def _marks(self, u: Field) -> Field:
        """A seam near the end of the shaft, and on some shafts a pale ring."""
        tone = 1 - 0.5 * np.exp(-((u - 0.25) ** 2) * 30)
        if self.rig.ring > 0:
            tone += 1.5 * (np.abs(u - np.float32(self.rig.ring)) < 0.35)
        result: Field = tone.astype(np.float32)
        return result

    def _lay(
        self,
        spots: SurfacePoints,
        metal: Metal,
        where: tuple[NDArray[np.intp], NDArray[np.intp]],
        cover: NDArray[np.uint8],
        box: Box,
        part: int,
    ) -> None:
        """Shades the points and blends them into the layer."""
        colour = shade(
            spots,
            metal,
            self.environment,
            self.size,
            blood=self.domain.blood,
            seed=self.rig.texture,
        )
        left, top, right, _ = self.layer.box
        place = (where[0] + (box[1] - top)) * (right - left) + (where[1] + (box[0] - left))
        alpha = cover[where].astype(np.float32) * np.float32(1 / 255)
        keep = 1 - alpha
        planes = self.layer.planes
        for c in range(3):
            planes[c][place] = planes[c].take(place) * keep + colour[c] * alpha
        planes[3][place] = planes[3].take(place) * keep + alpha
        self.layer.parts.reshape(-1)[place[alpha >= 0.5]] = part


def _pin(u: Field, v: Field, kind: str) -> Field:
    """Brightness of the pin of the joint, if there is one."""
    if kind in ("hook", "suction"):
        return np.ones_like(u)
    off = np.sqrt((u - 0.75) ** 2 + v * v)
    tone = 1 - 0.55 * np.exp(-((off - 0.34) ** 2) * 160)
    return np.asarray(tone, np.float32)


def _swell(cover: NDArray[np.uint8], bevel: float) -> tuple[Field, Field]:
    """Slopes of a rounded relief over a silhouette."""
    inner = cv2.distanceTransform((cover > 127).astype(np.uint8), cv2.DIST_L2, 3)
    rise = 1 - np.minimum(inner * np.float32(1 / bevel), 1)
    relief = np.sqrt(1 - rise * rise) * np.float32(bevel)
    relief = cv2.GaussianBlur(relief, (0, 0), max(bevel * 0.28, 0.6))
    gx: Field = cv2.Sobel(relief, cv2.CV_32F, 1, 0, scale=1 / 8)
    gy: Field = cv2.Sobel(relief, cv2.CV_32F, 0, 1, scale=1 / 8)
    return gx, gy
