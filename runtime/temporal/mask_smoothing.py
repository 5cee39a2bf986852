"""Removes flicker from label maps without delay.

    smoother = MaskSmoother(); outputs = smoother.smooth(outputs, time)

A pixel that changes its class with high confidence changes at once. A pixel that changes with low
confidence keeps its old class, for a few frames at most. So flicker is removed and motion is kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

_MAX_GAP_S = 0.5


class MaskSmoother:
    """Smooths the label maps of one stream.

    Args:
        min_confidence: Confidence, 0..1, from which on a change is accepted at once.
        max_delay_frames: Frames after which a change of low confidence is accepted.
    """

    def __init__(self, *, min_confidence: float = 0.75, max_delay_frames: int = 3) -> None:
        self._min_confidence = min_confidence
        self._max_delay_frames = max_delay_frames
        self._labels: NDArray[np.uint8] | None = None
        self._delayed_frames: NDArray[np.uint8] | None = None
        self._time = -math.inf

    def smooth(
        self, outputs: Mapping[str, NDArray[Any]], time: float
    ) -> Mapping[str, NDArray[Any]]:
        """The outputs with smoothed labels; unchanged without a confidence map.

        Args:
            outputs: ``labels`` ``[h, w]`` uint8 and ``confidence`` ``[h, w]``, by name.
            time: Presentation time in seconds. After a gap of more than 0.5 s smoothing restarts.
        """
        labels, confidence = outputs.get("labels"), outputs.get("confidence")
        if labels is None or confidence is None:
            return outputs
        before, delayed = self._labels, self._delayed_frames
        restarts = not 0 <= time - self._time <= _MAX_GAP_S
        self._time = time
        if before is None or delayed is None or restarts or before.shape != labels.shape:
            self._labels = labels
            self._delayed_frames = np.zeros_like(labels)
            return outputs
        is_delayed = (
            (labels != before) & self._is_low(confidence) & (delayed < self._max_delay_frames)
        )
        mask = is_delayed.view(np.uint8)
        smoothed = labels.copy()
        cv2.copyTo(before, mask, smoothed)
        # The mask is 0 or 1: this counts its pixels up and sets the others to 0.
        count = cv2.multiply(cv2.add(delayed, mask), mask)
        self._delayed_frames = cast("NDArray[np.uint8]", count)
        self._labels = smoothed
        return {**outputs, "labels": smoothed}

    def _is_low(self, confidence: NDArray[Any]) -> NDArray[np.bool_]:
        if confidence.dtype == np.float16:
            # Positive float16 values have the order of their bits, and integers compare faster.
            bits = int(np.array(self._min_confidence, np.float16).view(np.uint16))
            is_low: NDArray[np.bool_] = confidence.view(np.uint16) < bits
            return is_low
        scale = 255 if confidence.dtype == np.uint8 else 1
        return np.asarray(confidence < self._min_confidence * scale)
