"""How a frame is brought to the network's size: stretched, or scaled and padded.

    box = content_of((1080, 1920), spec)          # top, left, height, width inside of the input
    image = placed_frame(frame, spec)             # [h,w,3] float32, by OpenCV

`placement_lines` writes the same as ONNX text. All divisions are of integers, so that both round
alike.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.export.graph.input_spec import ModelSpec

_RESIZE = 'mode = "linear", coordinate_transformation_mode = "half_pixel"'

PLACED_OUTPUT = "placed"
"""Name of the tensor of `placement_lines` with the four numbers of `content_of`."""


def content_of(frame_size: tuple[int, int], spec: ModelSpec) -> tuple[int, int, int, int]:
    """Where the frame lies in the network's input.

    Args:
        frame_size: ``(height, width)`` of the frame.
        spec: Size of the input and how a frame is brought to it.

    Returns:
        Top, left, height and width, in pixels of the input.

    >>> content_of((1080, 1920), ModelSpec(height=640, width=640, resize="letterbox"))
    (140, 0, 360, 640)
    """
    (height, width), net_h, net_w = frame_size, spec.height, spec.width
    if spec.resize == "stretch":
        return 0, 0, net_h, net_w
    if width * net_h <= height * net_w:
        content = net_h, max(1, (2 * width * net_h + height) // (2 * height))
    else:
        content = max(1, (2 * height * net_w + width) // (2 * width)), net_w
    if spec.resize == "letterbox-corner":
        return 0, 0, *content
    return (net_h - content[0]) // 2, (net_w - content[1]) // 2, *content


def placed_frame(frame: NDArray[np.uint8], spec: ModelSpec) -> NDArray[np.float32]:
    """A frame ``[H,W,3]`` uint8 in the network's input: ``[h,w,3]`` float32 0..255."""
    top, left, height, width = content_of((frame.shape[0], frame.shape[1]), spec)
    small = cv2.resize(frame.astype(np.float32), (width, height))
    if spec.resize == "stretch":
        return np.asarray(small, np.float32)
    image = np.full((spec.height, spec.width, 3), spec.padding, np.float32)
    image[top : top + height, left : left + width] = small
    return image


def placement_lines(frame: str, planes: str, result: str, *, spec: ModelSpec) -> list[str]:
    """ONNX text that scales and pads; it makes ``placed`` too, the four numbers of `content_of`.

    Args:
        frame: Name of the frames ``[N,H,W,3]``.
        planes: Name of the same as ``[N,3,H,W]`` float32.
        result: Name of the images ``[N,3,h,w]`` that are made.
        spec: What is made.
    """
    centred = spec.resize == "letterbox"
    return [
        f"frame_h = Shape <start = 1, end = 2> ({frame})",
        f"frame_w = Shape <start = 2, end = 3> ({frame})",
        "scaled_w = Mul (frame_w, net_h)",
        "scaled_h = Mul (frame_h, net_w)",
        "is_tall = LessOrEqual (scaled_w, scaled_h)",
        *_rounded_quotient("scaled_w", "frame_h", "tall_w"),
        *_rounded_quotient("scaled_h", "frame_w", "wide_h"),
        "content_w = Where (is_tall, tall_w, net_w)",
        "content_h = Where (is_tall, net_h, wide_h)",
        "content = Concat <axis = 0> (content_h, content_w)",
        *resize_lines(planes, "scaled", "content"),
        "gap_h = Sub (net_h, content_h)",
        "gap_w = Sub (net_w, content_w)",
        f"top = Div (gap_h, {'pre_2' if centred else 'pre_big'})",
        f"left = Div (gap_w, {'pre_2' if centred else 'pre_big'})",
        "bottom = Sub (gap_h, top)",
        "right = Sub (gap_w, left)",
        "pads = Concat <axis = 0> (top, left, bottom, right)",
        f"{result} = Pad (scaled, pads, padding, pad_axes)",
        "placed = Concat <axis = 0> (top, left, content_h, content_w)",
    ]


def resize_lines(source: str, result: str, size: str) -> list[str]:
    """ONNX text that resizes the last two dimensions; ``size`` names height and width."""
    # Not with the attribute axes, which TensorRT refuses.
    return [
        f"{result}_kept = Shape <start = 0, end = 2> ({source})",
        f"{result}_sizes = Concat <axis = 0> ({result}_kept, {size})",
        f"{result} = Resize <{_RESIZE}> ({source}, , , {result}_sizes)",
    ]


def placement_constants(spec: ModelSpec) -> dict[str, NDArray[np.generic]]:
    """The constants that `placement_lines` names."""
    return {
        "net_h": np.array([spec.height], np.int64),
        "net_w": np.array([spec.width], np.int64),
        "pre_1": np.array([1], np.int64),
        "pre_2": np.array([2], np.int64),
        "pre_big": np.array([1 << 40], np.int64),
        "padding": np.array(spec.padding, np.float32),
        "pad_axes": np.array([2, 3], np.int64),
    }


def _rounded_quotient(dividend: str, divisor: str, result: str) -> list[str]:
    """``(2 * dividend + divisor) / (2 * divisor)``, at least 1."""
    return [
        f"{result}_twice = Mul ({dividend}, pre_2)",
        f"{result}_sum = Add ({result}_twice, {divisor})",
        f"{result}_by = Mul ({divisor}, pre_2)",
        f"{result}_whole = Div ({result}_sum, {result}_by)",
        f"{result} = Max ({result}_whole, pre_1)",
    ]
