"""Ground truth of phantom frames for the benchmarks of location and tracking.

iou((0, 0, 2, 2), (1, 0, 3, 2))  # 0.333
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from trocar.train.data.phantom import phantom_table

Instrument = tuple[str, tuple[float, ...], list[tuple[float, float]]]
"""Type, box ``(x0, y0, x1, y1)``, and the tips in view, ``(x, y)`` in pixels."""


def visible_instruments(frame: Any) -> list[Instrument]:
    """The instruments of a phantom frame that are large enough to find."""
    height, width = frame.instances.shape
    result = []
    for tip in frame.tips:
        mask = (frame.instances == tip.instance).astype(np.uint8)
        if mask.sum() < max(16, int(height * width * 0.0005)):
            continue
        x, y, w, h = cv2.boundingRect(mask)
        inside = []
        if tip.visible:
            for px, py in tip.points:
                # Phantom tips are pixel indices; results are coordinates from the image corner.
                if 0 <= round(px) < width and 0 <= round(py) < height:
                    rows = slice(max(0, round(py) - 2), round(py) + 3)
                    columns = slice(max(0, round(px) - 2), round(px) + 3)
                    if mask[rows, columns].any():
                        inside.append((px + 0.5, py + 0.5))
        name = phantom_table()[tip.class_id].name
        result.append((name, (x, y, x + w, y + h), inside))
    return result


def iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Intersection over union of two boxes ``(x0, y0, x1, y1)``, 0..1."""
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h
    return w * h / union
