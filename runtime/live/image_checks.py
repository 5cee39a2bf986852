"""Image quality checks: black, frozen and out-of-body frames.

    check = ImageQualityCheck()
    faults = check.update(np.zeros((720, 1280, 3), np.uint8), 0.0)   # {"black"}

A grid of about 24 x 24 pixels of each frame is looked at. Out-of-body is a heuristic: inside a body
nearly every lit pixel is red.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import ArgumentError
from trocar.contract.media.nv12 import Picture, sampled
from trocar.runtime.live._stillness import Stillness

MIN_BRIGHTNESS = 14
"""Mean of the brightest channel, 0..255, below which a frame is black."""

MIN_RED_FRACTION = 0.40
"""Mean red fraction of lit pixels below which the camera counts as outside the body."""

_GRID = 24
_LIT = 40


class ImageQualityCheck:
    """Checks the frames of one stream.

    Args:
        frozen_after_s: Seconds of identical frames, bit for bit, after which the stream is frozen;
            the noise of a camera never repeats. What an encoder changes in a frozen picture is
            recognised too, more slowly (`trocar.runtime.live._stillness`).
        outside_after_s: Seconds below `MIN_RED_FRACTION` after which the camera is out of body.

    Raises:
        ArgumentError: A time is not above 0.
    """

    def __init__(self, *, frozen_after_s: float = 1.0, outside_after_s: float = 1.0) -> None:
        if frozen_after_s <= 0 or outside_after_s <= 0:
            raise ArgumentError(
                f"frozen_after_s is {frozen_after_s} and outside_after_s is {outside_after_s}, "
                "expected above 0",
                remedy="use 1.0",
            )
        self._frozen_after = frozen_after_s
        self._outside_after = outside_after_s
        self._last: NDArray[np.uint8] | None = None
        self._same_since: float | None = None
        self._stillness = Stillness()
        self._outside_since: float | None = None

    def update(self, image: Picture, now_s: float) -> frozenset[str]:
        """Checks one frame.

        Args:
            image: ``[H, W, 3]`` uint8 RGB, or NV12.
            now_s: Monotonic time in seconds.

        Returns:
            Any of ``black``, ``frozen``, ``out_of_body``.
        """
        step_y, step_x = max(1, image.shape[0] // _GRID), max(1, image.shape[1] // _GRID)
        rows, columns = slice(step_y // 2, None, step_y), slice(step_x // 2, None, step_x)
        small = sampled(image, rows, columns).copy()
        faults = set()
        brightest = small.max(axis=2)
        if float(brightest.mean()) < MIN_BRIGHTNESS:
            faults.add("black")
        same = self._last is not None and np.array_equal(small, self._last)
        self._last = small
        self._same_since = (
            (self._same_since if self._same_since is not None else now_s) if same else None
        )
        if self._same_since is not None and now_s - self._same_since >= self._frozen_after:
            faults.add("frozen")
        if self._stillness.update(small.astype(np.int16), now_s):
            faults.add("frozen")
        outside = "black" not in faults and red_fraction(small) < MIN_RED_FRACTION
        if not outside:
            self._outside_since = None
        elif self._outside_since is None:
            self._outside_since = now_s
        if self._outside_since is not None and now_s - self._outside_since >= self._outside_after:
            faults.add("out_of_body")
        return frozenset(faults)


def red_fraction(pixels: NDArray[np.uint8]) -> float:
    """Mean of ``R / (R + G + B)`` over lit pixels, 0..1; grey has 1/3, tissue more than 0.4.

    Pixels whose brightest channel is 40 or less are left out; without lit pixels it is 1.
    """
    flat = pixels.reshape(-1, 3).astype(np.float64)
    lit = flat[flat.max(axis=1) > _LIT]
    if len(lit) == 0:
        return 1.0
    return float((lit[:, 0] / lit.sum(axis=1)).mean())
