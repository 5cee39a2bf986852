"""Rates and shares over a window, by a clock that only the test moves."""

from __future__ import annotations

import pytest

from trocar.runtime.live import activity
from trocar.runtime.live.activity import WINDOW_S, Activity


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000 * 10**9
        monkeypatch.setattr(activity, "now_ns", lambda: self.now)


def test_rate_and_share_are_those_of_the_last_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    seen = Activity()
    for frame in range(1000):
        clock.now += 40_000_000
        if frame < 900 or frame % 5 == 0:
            seen.done()
        else:
            seen.lost()
        if frame in (20, 100, 899):
            assert seen.rate == pytest.approx(25, rel=0.06)
            assert seen.window[1] == 0
    # A hundred frames are four seconds: four of five are lost, the last success is of just now.
    done, lost = seen.window
    assert lost == 80
    assert seen.idle_s < 0.21
    assert done + lost == pytest.approx(25 * WINDOW_S, abs=25)


def test_a_thread_that_stops_has_a_rate_of_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    seen = Activity()
    seen.done(100)
    clock.now += 60 * 10**9
    assert seen.rate == 0
    assert seen.idle_s == pytest.approx(60)
    assert seen.window == (0, 0)
