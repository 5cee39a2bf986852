"""How tracks move on by themselves, and how the camera moves them all.

    motion = TrackMotion(); motion.append(shapes, diagonal=734.0)

The centre of a box and the far end of an instrument are filtered apart (Kalman, constant velocity
that fades): when only a part of an instrument is seen, its centre jumps and its end does not.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.media.nv12 import Picture, sampled
from trocar.runtime.temporal.matching import ENTRY, NEAR, Floats, Points, Shapes, shapes_of

VELOCITY_FADES_S = 0.5
"""Time constant in which the velocity of an instrument that is not seen fades."""

_ACCELERATION = 2.0
_POSITION_ERROR = 0.01
_START_SPEED = 0.5

_CAMERA_WIDTH = 128
_MIN_RESPONSE = 0.12
_MIN_SIDE = 16


class TrackMotion:
    """The filtered positions of M tracks.

    Attributes:
        shapes: What is expected of each track, see `Shapes`.
    """

    def __init__(self) -> None:
        self.shapes: Shapes = shapes_of(())
        self._velocity: Points = np.zeros((2, 0), np.complex128)  # of the centre, the far end
        # ``[3, M]``: variance of the position, covariance, variance of the velocity.
        self._covariance: Floats = np.zeros((3, 0))

    def append(self, shapes: Shapes, *, diagonal: float) -> None:
        """Adds new tracks at rest; ``diagonal`` is the frame's, in pixels."""
        n = len(shapes)
        start = np.zeros((3, n))
        start[0], start[2] = (_POSITION_ERROR * diagonal) ** 2, (_START_SPEED * diagonal) ** 2
        self.shapes = self.shapes.joined(shapes)
        self._velocity = np.concatenate([self._velocity, np.zeros((2, n))], axis=1)
        self._covariance = np.concatenate([self._covariance, start], axis=1)

    def keep(self, is_kept: NDArray[np.bool_]) -> None:
        """Deletes the other tracks."""
        self.shapes = self.shapes.at(is_kept)
        self._velocity = self._velocity[:, is_kept]
        self._covariance = self._covariance[:, is_kept]

    def predict(self, dt: float, *, diagonal: float) -> None:
        """Moves all tracks ``dt`` seconds on."""
        if dt <= 0 or not len(self.shapes):
            return
        fade = math.exp(-dt / VELOCITY_FADES_S)
        along = VELOCITY_FADES_S * (1 - fade)
        way = self._velocity * along
        self._velocity *= fade
        points = self.shapes.points
        points[:NEAR] += way
        points[NEAR] += way[0]
        p, c, v = self._covariance
        noise = (_ACCELERATION * diagonal) ** 2
        p += along * (2 * c + along * v) + noise * dt**4 / 4
        c += along * v
        c *= fade
        c += noise * dt**3 / 2
        v *= fade * fade
        v += noise * dt * dt

    def shift(self, by: complex) -> None:
        """Moves all tracks by ``dx + i dy`` pixels: the camera moved."""
        self.shapes.points += by

    def correct(self, tracks: NDArray[np.int64], measured: Shapes, *, diagonal: float) -> None:
        """Corrects some tracks by what was found of them, row by row."""
        shapes = self.shapes
        p, c, v = self._covariance[:, tracks]
        error = p + (_POSITION_ERROR * diagonal) ** 2
        gain, gain_v = p / error, c / error
        self._covariance[:, tracks] = p - gain * p, c - gain * c, v - gain_v * c
        expected, seen = shapes.points[:NEAR, tracks], measured.points[:NEAR]
        way = seen - expected
        length = np.maximum(shapes.sizes[2, tracks], measured.sizes[2])
        jumps = np.abs(way) > 0.25 * length + 0.03 * diagonal
        velocity = self._velocity[:, tracks] + np.where(jumps, 0, gain_v * way)
        # A point that jumped belongs to another part: it moves as the other point does.
        velocity = np.where(jumps, velocity[::-1], velocity)
        velocity[:, jumps.all(axis=0)] = 0
        self._velocity[:, tracks] = velocity
        place = np.where(jumps, seen, expected + gain * way)
        shapes.points[:NEAR, tracks] = place
        shapes.points[NEAR, tracks] = measured.points[NEAR] + place[0] - seen[0]
        shapes.sizes[:, tracks] = measured.sizes
        entry = measured.points[ENTRY]
        shapes.points[ENTRY, tracks] = np.where(
            np.isnan(entry), shapes.points[ENTRY, tracks], entry
        )


class CameraMotion:
    """By how many pixels the picture moved since the frame before, by phase correlation.

    The picture is reduced to about 128 columns first. Source: Kuglin and Hines, "The phase
    correlation image alignment method", 1975.
    """

    def __init__(self) -> None:
        self._before: Picture | None = None
        self._now: Picture | None = None
        self._window: Any = None

    def update(self, image: Picture) -> None:
        """Takes the next frame, RGB ``[H, W, 3]`` uint8 or NV12, without a copy."""
        self._before, self._now = self._now, image

    def shift(self) -> complex | None:
        """``dx + i dy`` in pixels of the last frame.

        ``None``: the first frame, a frame of another size, or no clear shift.
        """
        if self._before is None or self._now is None or self._before.shape != self._now.shape:
            return None
        step = max(1, self._now.shape[1] // _CAMERA_WIDTH)
        before, now = (_reduced(image, step) for image in (self._before, self._now))
        if min(now.shape) < _MIN_SIDE:
            return None
        if self._window is None or self._window.shape != now.shape:
            self._window = cv2.createHanningWindow((now.shape[1], now.shape[0]), cv2.CV_32F)
        (x, y), response = cv2.phaseCorrelate(before, now, self._window)
        if response < _MIN_RESPONSE or not math.isfinite(x + y):
            return None
        return complex(x * step, y * step)


def _reduced(image: Picture, step: int) -> NDArray[np.float32]:
    """Every ``step``-th pixel of the green channel."""
    every = slice(step // 2, None, step)
    return np.ascontiguousarray(sampled(image, every, every)[..., 1], np.float32)
