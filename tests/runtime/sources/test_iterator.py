"""Recordings that play like cameras: gaps and stops."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest

from trocar.runtime.sources import iterator
from trocar.runtime.sources.base import Frame
from trocar.runtime.sources.iterator import RealtimeSource


class Recording:
    """Frames with given times; the clock stops for some seconds before given frames."""

    name, total, live = "recording", None, False

    def __init__(self, times: list[float], *, fps: float = 25.0) -> None:
        self.fps = fps
        self._times = times
        self.now = 5_000_000_000
        self.stops: dict[int, float] = {}

    def frames(self) -> Iterator[Frame]:
        for index, time in enumerate(self._times):
            self.now += round(self.stops.get(index, 0.0) * 1e9)
            yield Frame(image=np.zeros((2, 2, 3), np.uint8), index=index, time=time, captured_ns=0)

    def close(self) -> None: ...


def played(recording: Recording, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds at which the frames came, by a clock that only sleep moves on."""

    def sleep(seconds: float) -> None:
        recording.now += round(seconds * 1e9)

    monkeypatch.setattr(iterator, "now_ns", lambda: recording.now)
    monkeypatch.setattr("time.sleep", sleep)
    frames = RealtimeSource(recording).frames()
    return [(frame.captured_ns - 5_000_000_000) / 1e9 for frame in frames]


def test_a_gap_in_the_time_stamps_is_not_slept_through(monkeypatch: pytest.MonkeyPatch) -> None:
    times = [i / 25 + (3600.0 if i >= 10 else 0.0) for i in range(20)]
    moments = played(Recording(times), monkeypatch)
    assert moments[10] == pytest.approx(moments[9], abs=0.01)
    steps = [b - a for a, b in pairwise(moments)]
    assert steps[:9] + steps[10:] == pytest.approx([0.04] * 18)


@pytest.mark.parametrize("back_s", [0.0, 13.0])
def test_after_a_stop_a_recording_goes_on_at_its_pace(
    monkeypatch: pytest.MonkeyPatch, back_s: float
) -> None:
    """Thirteen seconds of frames may not come at once, as if a camera had kept them."""
    recording = Recording([i / 25 - (back_s if i >= 10 else 0.0) for i in range(500)])
    recording.stops = {10: 13.0}
    steps = [b - a for a, b in pairwise(played(recording, monkeypatch))]
    assert min(steps[10:]) == pytest.approx(0.04, abs=1e-6)


def test_slow_recordings_have_no_gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = played(Recording([0.0, 4.0, 8.0], fps=0.25), monkeypatch)
    assert moments == pytest.approx([0.0, 4.0, 8.0])
