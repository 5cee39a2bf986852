"""Images that show a frame, its ground truth and the prediction side by side.

image = comparison(frame, truth, predicted, table)     # three panels, [H, 3W, 3] uint8 RGB
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import IGNORE_INDEX, ClassTable
from trocar.contract.media.label_maps import enlarge
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
        truth: ``[H, W]`` uint8 class ids; ignored pixels are drawn as background.
        predicted: ``[H, W]`` uint8 class ids.
        table: Names and colours.

    Returns:
        ``[h, 3w + gaps, 3]`` uint8 RGB; each panel is `PANEL_WIDTH` pixels wide.
    """
    painter = Painter(table, OverlayOptions(show=("masks", "contours")))
    size = (PANEL_WIDTH, max(1, round(PANEL_WIDTH * frame.shape[0] / frame.shape[1])))
    small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    known = np.where(truth == IGNORE_INDEX, 0, truth).astype(np.uint8)
    panels = [small]
    for ids in (known, predicted):
        labels = enlarge(ids, size[::-1]).astype(np.uint8)
        panels.append(painter.draw(outlined(small, labels), _labelled(labels)))
    gap = np.full((size[1], GAP, 3), 255, np.uint8)
    return np.asarray(np.hstack([panels[0], gap, panels[1], gap, panels[2]]), np.uint8)


def outlined(frame: NDArray[np.uint8], labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A copy with a white and a black line round each region, and a white line between classes.

    The lines show the regions to colour-blind readers and in grey print.

    Args:
        frame: ``[H, W, 3]`` uint8 RGB.
        labels: ``[H, W]`` uint8 class ids; the lines lie on the background.
    """
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    region = (labels > 0).astype(np.uint8)
    near, wide = (cv2.dilate(region, cross, iterations=n) for n in (1, 2))
    image: NDArray[np.uint8] = frame.copy()
    image[(wide > 0) & (labels == 0)] = 0
    image[(near > 0) & (labels == 0)] = 255
    image[(cv2.dilate(labels, cross) > labels) & (labels > 0)] = 255
    return image


def _labelled(labels: NDArray[np.uint8]) -> FrameResult:
    return FrameResult(
        frame_id=0,
        time=0.0,
        captured_ns=0,
        age_ms=0.0,
        frame_size=(labels.shape[0], labels.shape[1]),
        labels=labels,
    )
