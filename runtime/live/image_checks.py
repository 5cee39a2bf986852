"""Is there anything to see? Black, frozen and out-of-body pictures.

    check = PictureCheck(); faults = check.update(image, time_s)

A few hundred pixels of each frame are looked at. Out-of-body is a rule of thumb, not a diagnosis:
inside a body nearly everything lit is red.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import ArgumentError

BLACK = 14
"""Mean of the brightest channel below which a picture is black."""

RED_SHARE = 0.40
"""Mean share of red in lit pixels below which the camera is outside the body."""

_GRID = 24


class PictureCheck:
    """What is wrong with the picture of one stream.

    Args:
        frozen_after_s: How long a picture must be the same to the last bit; a camera's noise
            never is.
        outside_after_s: How long the picture must look like outside the body.
    """

    def __init__(self, *, frozen_after_s: float = 1.0, outside_after_s: float = 1.0) -> None:
        if frozen_after_s <= 0 or outside_after_s <= 0:
            raise ArgumentError("times of the picture check must be above 0", remedy="use 1.0")
        self._frozen_after = frozen_after_s
        self._outside_after = outside_after_s
        self._last: NDArray[np.uint8] | None = None
        self._same_since: float | None = None
        self._outside_since: float | None = None

    def update(self, image: NDArray[np.uint8], now_s: float) -> frozenset[str]:
        """Looks at a frame.

        Args:
            image: ``[H, W, 3]`` uint8 RGB.
            now_s: Monotonic time in seconds.

        Returns:
            Any of ``black``, ``frozen``, ``out_of_body``.
        """
        step_y, step_x = max(1, image.shape[0] // _GRID), max(1, image.shape[1] // _GRID)
        small = image[step_y // 2 :: step_y, step_x // 2 :: step_x].copy()
        faults = set()
        brightest = small.max(axis=2)
        if float(brightest.mean()) < BLACK:
            faults.add("black")
        same = self._last is not None and np.array_equal(small, self._last)
        self._last = small
        self._same_since = (
            (self._same_since if self._same_since is not None else now_s) if same else None
        )
        if self._same_since is not None and now_s - self._same_since >= self._frozen_after:
            faults.add("frozen")
        outside = "black" not in faults and red_share(small) < RED_SHARE
        if not outside:
            self._outside_since = None
        elif self._outside_since is None:
            self._outside_since = now_s
        if self._outside_since is not None and now_s - self._outside_since >= self._outside_after:
            faults.add("out_of_body")
        return frozenset(faults)


def red_share(pixels: NDArray[np.uint8]) -> float:
    """Mean of ``R / (R + G + B)`` over lit pixels, 0..1; a third is grey, tissue is above 0.4."""
    flat = pixels.reshape(-1, 3).astype(np.float64)
    lit = flat[flat.max(axis=1) > 40]
    if len(lit) == 0:
        return 1.0
    return float((lit[:, 0] / lit.sum(axis=1)).mean())
