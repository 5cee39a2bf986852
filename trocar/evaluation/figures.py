"""Frames beside their truth and their prediction, for evaluations and reports.

image = comparison(frame, truth, predicted, table)     # three panels, [H, 3W, 3] uint8 RGB
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import IGNORE_INDEX, ClassTable
from trocar.contract.results import FrameResult
from trocar.runtime.draw.overlay import OverlayOptions, Painter

PANEL_WIDTH = 420
GAP = 4


def comparison(
    frame: NDArray[np.uint8],
    truth: NDArray[np.uint8],
    predicted: NDArray[np.uint8],
    table: ClassTable,
) -> NDArray[np.uint8]:
    """Frame, truth and prediction side by side.

    Args:
        frame: ``[H, W, 3]`` uint8 RGB.
        truth: ``[H, W]`` uint8 class ids; ignored pixels are shown as background.
        predicted: ``[H, W]`` uint8 class ids.
        table: Names and colours.

    Returns:
        ``[h, 3w + gaps, 3]`` uint8 RGB, panels `PANEL_WIDTH` wide.
    """
    painter = Painter(table, OverlayOptions(boxes=False, tips=False))
    size = (PANEL_WIDTH, max(1, round(PANEL_WIDTH * frame.shape[0] / frame.shape[1])))
    small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    known = np.where(truth == IGNORE_INDEX, 0, truth).astype(np.uint8)
    panels = [small]
    for ids in (known, predicted):
        labels = cv2.resize(ids, size, interpolation=cv2.INTER_NEAREST_EXACT).astype(np.uint8)
        panels.append(painter.draw(outlined(small, labels), _labelled(labels)))
    gap = np.full((size[1], GAP, 3), 255, np.uint8)
    return np.asarray(np.hstack([panels[0], gap, panels[1], gap, panels[2]]), np.uint8)


def outlined(frame: NDArray[np.uint8], labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A copy with a white and a black line round each region, and a white one between classes.

    Some readers see green regions as grey as steel, and print may be grey altogether.

    Args:
        frame: ``[H, W, 3]`` uint8 RGB.
        labels: ``[H, W]`` uint8 class ids; the lines lie on the background.
    """
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    region = (labels > 0).astype(np.uint8)
    near, wide = (cv2.dilate(region, cross, iterations=n) for n in (1, 2))
    picture: NDArray[np.uint8] = frame.copy()
    picture[(wide > 0) & (labels == 0)] = 0
    picture[(near > 0) & (labels == 0)] = 255
    picture[(cv2.dilate(labels, cross) > labels) & (labels > 0)] = 255
    return picture


def _labelled(labels: NDArray[np.uint8]) -> FrameResult:
    return FrameResult(
        frame_id=0,
        time=0.0,
        captured_ns=0,
        age_ms=0.0,
        frame_size=(labels.shape[0], labels.shape[1]),
        labels=labels,
    )
