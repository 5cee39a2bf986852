"""Outlines of instrument parts in the image, and their masks.

polygon, normal = lathe(port, joint, ((0, 1), (1, 1)), 0.04, (512, 640))
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.train.data.phantom.instrument_shapes import Jaw
from trocar.train.data.phantom.pose import FOCAL, Pose, Rig, Vector, project

Box = tuple[int, int, int, int]


def lathe(
    start: Vector,
    stop: Vector,
    profile: tuple[tuple[float, float], ...],
    radius: float,
    size: tuple[int, int],
) -> tuple[Vector, Vector]:
    """Silhouette ``[n, 2]`` of a solid of revolution, and the unit normal to its axis in the image.

    Args:
        start: One end of the axis in space.
        stop: The other end.
        profile: ``(share of the length, factor on the radius)``.
        radius: In space.
        size: Height and width of the frame.
    """
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


def jaw_outlines(
    jaw: Jaw, rig: Rig, pose: Pose, widest: float, size: tuple[int, int]
) -> tuple[list[Vector], list[Vector] | None, Vector]:
    """Silhouette polygons of a jaw (two faces, then its rim), its window, and its tip."""
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
    rim = np.stack([np.roll(top, 1, 0), top, under, np.roll(under, 1, 0)], 1)
    hole = None
    if jaw.hole is not None:
        window = placed(jaw.hole)
        hole = [project(window - across, size), project(window + across, size)]
    tip = placed(np.array([jaw.tip], np.float32))
    return [top, under, *rim], hole, project(tip, size)


def bounds(points: Vector, size: tuple[int, int]) -> Box | None:
    """Left, top, right, bottom of the points within the frame, with a margin for smooth edges."""
    low, high = points.min(0) - 2, points.max(0) + 3
    left, top = max(int(low[0]), 0), max(int(low[1]), 0)
    right, bottom = min(int(high[0]) + 1, size[1]), min(int(high[1]) + 1, size[0])
    return (left, top, right, bottom) if right > left and bottom > top else None


def filled(
    polygons: list[Vector], hole: list[Vector] | None, size: tuple[int, int]
) -> tuple[NDArray[np.uint8], Box] | None:
    """Coverage 0..255 of the union of polygons within its box; ``None`` if outside the frame.

    A window is open only where both faces of the jaw are open.
    """
    corners = np.concatenate(polygons)
    box = bounds(corners, size)
    if box is None:
        return None
    left, top, right, bottom = box
    mask = np.zeros((bottom - top, right - left), np.uint8)
    fine = fixed(corners, left, top)
    start = 0
    for polygon in polygons:
        piece = fine[start : start + len(polygon)]
        cv2.fillPoly(mask, [piece], 255, cv2.LINE_AA, 4)
        start += len(polygon)
    if hole is not None:
        window = np.full_like(mask, 255)
        for polygon in hole:
            one = np.zeros_like(mask)
            cv2.fillPoly(one, [fixed(polygon, left, top)], 255, cv2.LINE_AA, 4)
            window = np.minimum(window, one)
        mask = np.minimum(mask, 255 - window)
    return mask, box


def fixed(polygon: Vector, left: int, top: int) -> NDArray[np.int32]:
    """Corners in sixteenths of a pixel from a corner, as OpenCV fills them."""
    return np.round((polygon - (left, top)) * 16).astype(np.int32)
