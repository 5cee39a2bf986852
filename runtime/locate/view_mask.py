"""Nothing is outside the field of view: labels there become background.

    labels = clear_outside_view(labels, (1080, 1920), view)

Section 0 of ``docs/location.md``.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.runtime.locate.field_of_view import FieldOfView


def clear_outside_view(
    labels: NDArray[np.uint8], frame_size: tuple[int, int], view: FieldOfView
) -> NDArray[np.uint8]:
    """Sets the labels of pixels whose centre lies outside the view to 0.

    Args:
        labels: ``[h, w]`` uint8 class ids; they are not changed.
        frame_size: ``(height, width)`` of the frame.
        view: The field of view, in frame pixels.

    Returns:
        ``[h, w]`` a copy.

    >>> view = FieldOfView(x=1.5, y=0.5, radius=1.0)
    >>> clear_outside_view(np.array([[1, 2, 3, 4]], np.uint8), (1, 4), view).tolist()
    [[1, 2, 3, 0]]
    """
    h, w = labels.shape
    inside = _inside(h, w, frame_size, view)
    return cast("NDArray[np.uint8]", cv2.bitwise_and(labels, inside).reshape(h, w))


def outputs_in_view(
    outputs: Mapping[str, NDArray[Any]], frame_size: tuple[int, int], view: FieldOfView | None
) -> Mapping[str, NDArray[Any]]:
    """A graph's outputs of one frame, with labels and instances inside the view alone."""
    if view is None:
        return outputs
    maps = {name: outputs[name] for name in ("labels", "instances") if name in outputs}
    return {**outputs, **{n: clear_outside_view(m, frame_size, view) for n, m in maps.items()}}


@functools.lru_cache(maxsize=8)
def _inside(h: int, w: int, frame_size: tuple[int, int], view: FieldOfView) -> NDArray[np.uint8]:
    """``[h, w]`` 255 inside the view and 0 outside of it."""
    dx = (np.arange(w) + 0.5) * (frame_size[1] / w) - view.x
    dy = (np.arange(h) + 0.5) * (frame_size[0] / h) - view.y
    is_inside = (dx * dx)[None, :] + (dy * dy)[:, None] <= view.radius * view.radius
    inside: NDArray[np.uint8] = np.where(is_inside, np.uint8(255), np.uint8(0))
    return inside
