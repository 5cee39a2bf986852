"""What a frame is: uint8 RGB, checked in words before any library sees it.

frame = check_frame(array)      # [H, W, 3] uint8
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import ArgumentError

_REMEDY = "pass RGB frames as NumPy arrays of uint8; cv2.cvtColor turns OpenCV's BGR round"


def check_frame(frame: NDArray[Any]) -> NDArray[np.uint8]:
    """Gives the frame back, contiguous.

    Raises:
        ArgumentError: It is not uint8 ``[H, W, 3]`` with H and W above 0.
    """
    _check(frame, 3, "[H, W, 3]")
    return np.ascontiguousarray(frame)


def check_batch(frames: NDArray[Any]) -> NDArray[np.uint8]:
    """Gives a batch back, contiguous.

    Raises:
        ArgumentError: It is not uint8 ``[N, H, W, 3]`` with N, H and W above 0.
    """
    _check(frames, 4, "[N, H, W, 3]")
    return np.ascontiguousarray(frames)


def shrink(frame: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resizes a frame outside the graph: bilinear, half-pixel, rounded to uint8.

    Faster on a CPU than the graph's own resizing, and not quite equal to it, since the graph
    resizes in floating point: about 0.02 % of labels differ.
    """
    if frame.shape[:2] == (height, width):
        return frame
    resized: NDArray[np.uint8] = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
    return resized


def _check(frame: NDArray[Any], ndim: int, shape: str) -> None:
    if not isinstance(frame, np.ndarray):
        raise ArgumentError(
            f"frame is {type(frame).__name__}, expected a uint8 array {shape}", remedy=_REMEDY
        )
    if frame.dtype != np.uint8 or frame.ndim != ndim or frame.shape[-1] != 3 or 0 in frame.shape:
        raise ArgumentError(
            f"frame is {frame.dtype} {list(frame.shape)}, expected uint8 {shape}", remedy=_REMEDY
        )
