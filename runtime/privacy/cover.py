"""Covers pictures so that nobody and nothing in them can be recognised, and not undone.

covered("blur", np.zeros((1080, 1920, 3), np.uint8))
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

GRID = 12
"""Cells of a blurred picture along its longer side: all that is left of it are their means."""

SMALLEST = 8
"""Pixels along the side of a cell, at least."""


def covered(mode: str, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A covered copy of a picture.

    A Gaussian blur can be undone in part. Here the picture is reduced to the mean colours of a
    coarse grid, which are then interpolated: what was finer is no longer there.

    Args:
        mode: ``blur``; any other is black.
        image: ``[H, W, 3]`` uint8 RGB; of whatever else it is, the copy is black.

    Returns:
        ``[H, W, 3]`` uint8 RGB.
    """
    height, width = image.shape[:2]
    if mode != "blur" or image.dtype != np.uint8 or image.shape[2:] != (3,):
        return np.zeros((height, width, 3), np.uint8)
    longer = max(height, width)
    cells = (
        max(1, min(GRID * width // longer, width // SMALLEST)),
        max(1, min(GRID * height // longer, height // SMALLEST)),
    )
    means = cv2.resize(np.ascontiguousarray(image), cells, interpolation=cv2.INTER_AREA)
    blurred = cv2.resize(means, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(blurred, np.uint8)
