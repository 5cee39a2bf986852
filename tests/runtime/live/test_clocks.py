"""Clocks: half a minute of silence in no time, and a wall clock that steps while a run is going."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from live_runs import live, states

from trocar.runtime.live.stream import LiveStream
from trocar.runtime.pipeline.options import LiveOptions
from trocar.runtime.session import Session
from trocar.runtime.sinks.base import FrameEvent
from trocar.runtime.sinks.records import Callback, JsonLines

DAY_NS = 86_400_000_000_000


class Clock:
    """A clock of the standard library that can be put forward or back."""

    def __init__(self, real: Callable[[], int]) -> None:
        self._real = real
        self.offset_ns = 0
        self.asked = 0

    def __call__(self) -> int:
        self.asked += 1
        return self._real() + self.offset_ns


def replace_everywhere(patch: pytest.MonkeyPatch, name: str, clock: Any) -> None:
    """In the standard library, and wherever the runtime or the camera took the name from it."""
    real = getattr(time, name)
    patch.setattr(time, name, clock)
    for module in list(sys.modules.values()):
        known = getattr(module, "__name__", "").startswith("trocar.") or module is sys.modules.get(
            "videos"
        )
        if known and getattr(module, name, None) is real:
            patch.setattr(module, name, clock)


def test_thirty_seconds_of_silence(
    session: Session, kit: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(time.monotonic_ns)
    replace_everywhere(monkeypatch, "monotonic_ns", clock)
    streams: list[LiveStream] = []
    events: list[FrameEvent] = []
    before: list[int] = []
    heard = threading.Event()

    def fall_silent() -> None:
        # All that was sent has been answered, so it is the camera alone that is silent.
        assert kit.until(lambda: _last(streams[0]) == 19 and streams[0].health.state == "LIVE")
        before.append(len(states(streams[0])))
        clock.offset_ns += 30_000_000_000
        assert kit.until(lambda: _silent(streams[0]))
        heard.set()

    _, (summary,) = live(
        session,
        kit.Camera(frames=9999, faults={20: fall_silent}),
        sinks=[Callback(events.append)],
        # The limits of a real run: nothing is scaled down for the test.
        options=LiveOptions(),
        during=lambda run: streams.extend(run.streams),
        until=lambda streams: heard.is_set() and _recovered(streams[0], before),
    )
    (stream,) = streams
    assert any(
        change.state == "STALE" and "no new frame for over 1 s" in change.reasons
        for change in list(stream.health.changes)[before[0] :]
    )
    assert "LIVE" in states(stream)[before[0] + 1 :]
    # What was found before the silence is no news after it.
    after = [event for event in events if event.frame.index >= 20]
    old = [s for s in after if s.result is not None and s.result.frame_id < 20]
    assert after
    assert not any(event.visible for event in old)
    assert any(event.visible for event in after)
    assert summary.counts.read == summary.counts.written + summary.counts.dropped


def _last(stream: LiveStream) -> int:
    return -1 if stream.latest is None else stream.latest.frame_id


def _silent(stream: LiveStream) -> bool:
    return stream.health.state == "STALE" and any("no new" in r for r in stream.health.reasons)


def _recovered(stream: LiveStream, before: list[int]) -> bool:
    return "LIVE" in states(stream)[before[0] + 1 :] and _last(stream) > 40


def test_a_wall_clock_that_steps_changes_nothing(
    session: Session, kit: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A day forward, two back, and so on, as a wrong clock does that is put right."""
    wall = Clock(time.time_ns)
    replace_everywhere(monkeypatch, "time_ns", wall)
    replace_everywhere(monkeypatch, "time", lambda: wall() / 1e9)

    def step(by: int) -> Callable[[], None]:
        def turn() -> None:
            then = time.time()
            wall.offset_ns += by
            assert abs(time.time() - then) > 0.9 * abs(by) / 1e9

        return turn

    steps = {i: step(DAY_NS if i % 20 else -2 * DAY_NS) for i in range(10, 400, 10)}
    # No limit that a busy machine could pass: only a clock that steps could make this stale.
    options = LiveOptions(max_age_ms=600_000.0, stale_after_s=600.0, watchdog_s=600.0)
    lines = JsonLines(tmp_path / "o.jsonl", live=True)
    begun = time.monotonic()
    (stream,), (summary,) = live(
        session,
        kit.Camera(frames=400, faults=steps),
        sinks=[lines, Callback(lambda event: event.overlay())],
        options=options,
    )
    took_ms = (time.monotonic() - begun) * 1000
    assert wall.asked >= 2 * len(steps)
    seen = states(stream)
    # A busy machine may make an output fall behind (DEGRADED); nothing may look old or gone.
    assert seen[0] == "STALE"
    assert "LIVE" in seen
    assert not {"STALE", "FAULT"} & set(seen[1:])
    moments = [change.at_ns for change in stream.health.changes]
    assert moments == sorted(moments)
    for stage in stream.stages:
        assert 0 <= stream.stages[stage].max_ms <= took_ms, stage
    assert 0 <= summary.seconds * 1000 <= took_ms
    records = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert len(records) + stream.sink_workers[0].dropped == summary.counts.processed > 0
    assert all(0 <= record["age_ms"] <= took_ms for record in records)
    assert all(a["time"] < b["time"] for a, b in pairwise(records))
    assert all(
        record["time"] == pytest.approx(record["frame"] / 100, abs=1e-6) for record in records
    )
