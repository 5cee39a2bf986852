"""Steadier masks and steadier words, without holding anything back.

    smoother = MaskSmoother(); outputs = smoother.smooth(outputs, time)
    presence = Presence(table); result = presence.apply(frame, result)

A pixel that changes its class with confidence changes at once; one that changes without keeps its
old class, for a few frames at most. So flicker goes and motion stays.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

_FORGET_S = 0.5


class MaskSmoother:
    """Steadies label maps of one stream.

    Args:
        confidence: From here on a change is believed at once, 0..1.
        hold: Frames for which an unsure change is put off at most.
    """

    def __init__(self, *, confidence: float = 0.75, hold: int = 3) -> None:
        self._limit = confidence
        self._hold = hold
        self._labels: NDArray[np.uint8] | None = None
        self._held: NDArray[np.uint8] | None = None
        self._time = -math.inf

    def smooth(
        self, outputs: Mapping[str, NDArray[Any]], time: float
    ) -> Mapping[str, NDArray[Any]]:
        """Gives the outputs with steadier labels; unchanged without a confidence map."""
        labels, confidence = outputs.get("labels"), outputs.get("confidence")
        if labels is None or confidence is None:
            return outputs
        before, held = self._labels, self._held
        stale = not 0 <= time - self._time <= _FORGET_S
        self._time = time
        if before is None or held is None or before.shape != labels.shape or stale:
            self._labels = labels
            self._held = np.zeros_like(labels)
            return outputs
        keep = (labels != before) & self._unsure(confidence) & (held < self._hold)
        mask = keep.view(np.uint8)
        steady = labels.copy()
        cv2.copyTo(before, mask, steady)
        self._held = cv2.multiply(cv2.add(held, 1), mask)
        self._labels = steady
        return {**outputs, "labels": steady}

    def _unsure(self, confidence: NDArray[Any]) -> NDArray[np.bool_]:
        if confidence.dtype == np.float16:
            # Bits of halves above 0 are in the order of their values, and integers compare faster.
            bits = int(np.array(self._limit, np.float16).view(np.uint16))
            unsure: NDArray[np.bool_] = confidence.view(np.uint16) < bits
            return unsure
        limit = self._limit * 255 if confidence.dtype == np.uint8 else self._limit
        return np.asarray(confidence < limit)
