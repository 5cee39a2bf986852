"""Recognises a picture that an encoder keeps changing a little although its camera is frozen.

stillness = Stillness()
stillness.update(small, 12.0)        # [h, w, 3] int16 samples of a frame, seconds

A frozen picture behind an encoder (H.264, MPEG-2) is not equal bit for bit: every key frame sets it
anew, and rate control refines it. But between most frames nearly nothing changes, far less than the
noise of a camera and the breathing of a patient leave. ``benchmarks/frozen_cameras.py`` measures
how soon frozen pictures are recognised, and counts false alarms on moving films.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

STILL_AFTER_S = 4.0
"""Seconds with hardly any change after which a picture is frozen."""

MAX_CHANGE = 0.1
"""Median change of a frozen picture from frame to frame, in grey levels per sample."""

MAX_SHARE = 0.25
"""The same as a share of the change in the quiet seconds of this stream before."""

MAX_DRIFT = 4.0
"""Change between the ends of those seconds: what key frames of one picture differ by, at most."""

_QUIET_PERCENTILE = 10
_FEWEST_FRAMES = 8
_FEWEST_SECONDS = 5
_HISTORY_S = 120


class Stillness:
    """Compares the change from frame to frame with what this stream showed before.

    A stream that never moved more (a still scene whose noise the encoder removes) is not called
    frozen: there is nothing to tell the two apart.
    """

    def __init__(self) -> None:
        self._last: NDArray[np.int16] | None = None
        # (second, change, samples) of the last STILL_AFTER_S.
        self._recent: deque[tuple[float, float, NDArray[np.int16]]] = deque()
        # The median change of each second that was not still.
        self._seconds: deque[float] = deque(maxlen=_HISTORY_S)
        self._noted_s = float("-inf")

    def update(self, small: NDArray[np.int16], now_s: float) -> bool:
        """Takes a frame; whether the picture is frozen.

        Args:
            small: ``[h, w, 3]`` samples of the frame.
            now_s: Monotonic time in seconds.
        """
        last, self._last = self._last, small
        if last is None or last.shape != small.shape:
            self._recent.clear()
            return False
        self._recent.append((now_s, float(np.abs(small - last).mean()), small))
        while now_s - self._recent[0][0] > STILL_AFTER_S:
            self._recent.popleft()
        if len(self._recent) < _FEWEST_FRAMES or now_s - self._recent[0][0] < 0.8 * STILL_AFTER_S:
            return False
        change = float(np.median([entry[1] for entry in self._recent]))
        drift = float(np.abs(small - self._recent[0][2]).mean())
        if change < min(MAX_CHANGE, MAX_SHARE * self._quiet()) and drift < MAX_DRIFT:
            return True
        if now_s - self._noted_s >= 1:
            self._seconds.append(change)
            self._noted_s = now_s
        return False

    def _quiet(self) -> float:
        if len(self._seconds) < _FEWEST_SECONDS:
            return 0.0
        return float(np.percentile(self._seconds, _QUIET_PERCENTILE))
