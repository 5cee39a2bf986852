"""Frames are uint8 RGB arrays; they are checked here before any library gets them.

frame = check_frame(array)      # [H, W, 3] uint8
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import ArgumentError, BackendError
from trocar.contract.media.nv12 import Nv12Picture, Picture
from trocar.contract.tensorrt.engines import Profile

_REMEDY = (
    "pass RGB frames as NumPy arrays of uint8; for OpenCV's frames call "
    "cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)"
)


def check_frame(frame: NDArray[Any]) -> NDArray[np.uint8]:
    """Checks a frame and returns it, contiguous.

    Raises:
        ArgumentError: It is not uint8 ``[H, W, 3]`` with H and W above 0.
    """
    _check(frame, 3, "[H, W, 3]")
    return np.ascontiguousarray(frame)


def check_picture(picture: Picture) -> Picture:
    """Checks a frame of RGB as `check_frame`; an `Nv12Picture` checked its planes itself.

    Raises:
        ArgumentError: It is neither.
    """
    return picture if isinstance(picture, Nv12Picture) else check_frame(picture)


def check_batch(frames: NDArray[Any]) -> NDArray[np.uint8]:
    """Checks a batch and returns it, contiguous.

    Raises:
        ArgumentError: It is not uint8 ``[N, H, W, 3]`` with N, H and W above 0.
    """
    _check(frames, 4, "[N, H, W, 3]")
    return np.ascontiguousarray(frames)


def shrink(frame: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resizes a frame outside the graph: bilinear, half-pixel, rounded to uint8.

    Faster on a CPU than resizing in the graph, but not exactly equal: the graph resizes in floating
    point. About 0.02 % of the labels differ.

    Args:
        frame: ``[H, W, 3]`` uint8 RGB.
        height: Pixels.
        width: Pixels.
    """
    if frame.shape[:2] == (height, width):
        return frame
    resized = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
    return cast("NDArray[np.uint8]", resized)


def infer_within(
    profile: Profile,
    infer: Callable[[NDArray[np.uint8]], dict[str, NDArray[Any]]],
    frames: NDArray[np.uint8],
) -> dict[str, NDArray[Any]]:
    """Runs a batch in parts that a profile takes; the result is as of one run.

    A batch above the profile's largest is split. One below its smallest is filled up with copies of
    its last frame, whose outputs are dropped.

    Args:
        profile: Shapes that ``infer`` takes.
        infer: Runs ``[N, H, W, 3]`` frames.
        frames: ``[N, H, W, 3]`` uint8.
    """
    least, most = profile.minimum[0], profile.maximum[0]
    if least <= len(frames) <= most:
        return infer(frames)
    parts: list[dict[str, NDArray[Any]]] = []
    for start in range(0, len(frames), most):
        part = frames[start : start + most]
        missing = max(0, least - len(part))
        if missing:
            filled = infer(np.concatenate([part, np.repeat(part[-1:], missing, axis=0)]))
            parts.append({name: value[: len(part)] for name, value in filled.items()})
        else:
            parts.append(infer(part))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def check_finite(outputs: Mapping[str, NDArray[Any]]) -> None:
    """Refuses outputs that hold NaN or infinities.

    Raises:
        BackendError: One of them does.
    """
    for name, values in outputs.items():
        if not is_finite(values):
            raise BackendError(
                f"the model's output {name!r} holds numbers that are not finite (NaN)",
                remedy="export the checkpoint again, in fp32 if this bundle is fp16",
            )


def is_finite(values: NDArray[Any]) -> bool:
    """Whether an output of a model holds neither NaN nor infinities; integers always do."""
    if values.dtype == np.float16:
        # NumPy widens each number to look at it, twenty times slower than its bits: all five of
        # the exponent are set in what is not finite.
        return not bool(((values.view(np.uint16) & 0x7C00) == 0x7C00).any())
    return values.dtype.kind != "f" or bool(np.isfinite(values).all())


def _check(frame: NDArray[Any], ndim: int, shape: str) -> None:
    if not isinstance(frame, np.ndarray):
        raise ArgumentError(
            f"frame is {type(frame).__name__}, expected a uint8 array {shape}", remedy=_REMEDY
        )
    if frame.dtype != np.uint8 or frame.ndim != ndim or frame.shape[-1] != 3 or 0 in frame.shape:
        raise ArgumentError(
            f"frame is {frame.dtype} {list(frame.shape)}, expected uint8 {shape}", remedy=_REMEDY
        )
