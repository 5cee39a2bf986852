"""Faults put into live runs: the state tells of each, and nothing else stops."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
from live_runs import SlowModel, analysed, live, states

from trocar.contract.media import clock
from trocar.contract.media.clock import now_ns
from trocar.runtime.draw.overlay import Painter
from trocar.runtime.live.health import Health, StateChange
from trocar.runtime.live.run import LiveRun
from trocar.runtime.live.state import stream_state
from trocar.runtime.live.stream import LiveStream
from trocar.runtime.pipeline.frame_processor import FrameProcessor
from trocar.runtime.pipeline.options import LiveOptions
from trocar.runtime.session import Session
from trocar.runtime.sinks.base import FrameEvent
from trocar.runtime.sinks.records import Callback
from trocar.runtime.sources.base import Arrival, Frame


class Changed:
    """A camera whose frames are changed on their way."""

    live, total, name = True, None, "camera"

    def __init__(self, camera: Any, change: Callable[[Frame], Frame]) -> None:
        self.fps = camera.fps
        self._camera = camera
        self._change = change

    def frames(self) -> Iterator[Frame]:
        for frame in self._camera.frames():
            yield self._change(frame)

    def close(self) -> None:
        self._camera.close()


def reasons(stream: LiveStream) -> set[str]:
    """All that were told so far."""
    return {reason for change in list(stream.health.changes) for reason in change.reasons}


def told(text: str) -> Callable[[list[LiveStream]], bool]:
    return lambda streams: any(text in reason for reason in reasons(streams[0]))


def test_what_comes_late_is_old_in_every_age(session: Session, kit: ModuleType) -> None:
    """A decoder that is behind hands over frames at once; their source's clock tells."""

    def late(frame: Frame) -> Frame:
        captured = frame.captured_ns - 5_000_000_000
        return replace(frame, captured_ns=captured, arrival=Arrival(late_ms=5000.0))

    events: list[FrameEvent] = []
    (stream,), (summary,) = live(
        session,
        Changed(kit.Camera(frames=9999), late),
        sinks=[Callback(events.append)],
        options=LiveOptions(deadline_ms=100.0),
        until=analysed(5),
    )
    assert "LIVE" not in states(stream)
    assert "frames come more than 300 ms late by the source's clock" in reasons(stream)
    assert not any(event.visible for event in events if event.result is not None)
    assert summary.counts.missed == summary.counts.processed > 5
    for stage in ("input", "age", "mask age", "display"):
        assert stream.stages[stage].percentile(1) >= 4950, stage
    told_now = stream_state(stream)
    assert told_now["input"]["late_ms"] == 5000
    assert told_now["mask_age_ms"] >= 5000


def test_damage_skipped_frames_and_steps_of_the_clock_are_told(
    session: Session, kit: ModuleType
) -> None:
    def change(frame: Frame) -> Frame:
        arrival = Arrival(damaged=2, skipped=70) if frame.index == 20 else frame.arrival
        back = 13.0 if frame.index >= 40 else 0.0
        return replace(frame, arrival=arrival, time=frame.time - back)

    events: list[FrameEvent] = []
    (stream,), (summary,) = live(
        session, Changed(kit.Camera(frames=80), change), sinks=[Callback(events.append)]
    )
    assert summary.counts.read == 150 == summary.counts.written + summary.counts.dropped
    assert summary.counts.damaged == 2
    assert {
        "data of the source are damaged",
        "frames are passed over: the decoder does not keep up",
        "the source's clock stepped; time goes on",
    } <= reasons(stream)
    times = [event.frame.time for event in events]
    assert times == sorted(set(times))


dying = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


@dying
def test_a_display_thread_that_dies_is_a_fault(session: Session, kit: ModuleType) -> None:
    def die(*args: Any) -> None:
        raise SystemExit

    (stream,), (summary,) = live(
        session,
        kit.Camera(frames=9999),
        during=lambda run: setattr(run.streams[0], "_show", die),
        until=told("the thread that shows pictures has ended"),
    )
    assert "FAULT" in states(stream)
    assert summary.counts.read > summary.counts.written + 1


def test_a_display_thread_that_hangs_makes_it_stale(session: Session, kit: ModuleType) -> None:
    release = threading.Event()

    def hang(run: LiveRun) -> None:
        show = run.streams[0]._show

        def wait(*args: Any) -> Any:
            release.wait(60)
            return show(*args)

        run.streams[0]._show = wait  # type: ignore[method-assign]

    found = told("no picture was shown for over 0.2 s")
    (stream,), (summary,) = live(
        session,
        kit.Camera(frames=9999),
        options=LiveOptions(stale_after_s=0.2),
        during=hang,
        until=lambda streams: found(streams) and release.set() is None,
    )
    assert "STALE" in states(stream)
    assert summary.counts.read == summary.counts.written + summary.counts.dropped


def test_an_output_that_loses_four_of_five_pictures_is_told(
    session: Session, kit: ModuleType
) -> None:
    """It succeeds all the time, and its queue is never full for long."""
    (stream,), _ = live(
        session,
        kit.Camera(frames=9999),
        sinks=[Callback(lambda event: time.sleep(0.05), name="slow")],
        until=told("output slow does not keep up: it loses"),
    )
    assert "DEGRADED" in states(stream)
    assert stream.sink_workers[0].failed == ""


def test_a_picture_without_a_mask_is_never_live(session: Session, kit: ModuleType) -> None:
    """A model that is slower than the age up to which masks are shown; it is said once."""
    events: list[FrameEvent] = []
    found = told("the model is slower than --max-age")
    (stream,), _ = live(
        SlowModel(session, seconds=0.06),
        kit.Camera(frames=9999),
        sinks=[Callback(events.append)],
        options=LiveOptions(max_age_ms=30.0),
        until=lambda streams: found(streams) and streams[0].counts.processed > 9,
    )
    assert set(states(stream)) == {"STALE"}
    assert all(event.alarm and "STALE" in event.status for event in events)
    said = [
        [reason for reason in change.reasons if "slower than --max-age" in reason]
        for change in stream.health.changes
    ]
    assert (
        sum(bool(now) and not before for before, now in zip([[], *said], said, strict=False)) == 1
    )


def test_a_listener_that_never_returns_stops_no_thread(session: Session, kit: ModuleType) -> None:
    """As a terminal that does not read: the watchdog still sees that the camera is silent."""
    release = threading.Event()

    def listener(change: StateChange) -> None:
        release.wait(60)
        raise RuntimeError("closed")

    silence = threading.Event()
    camera = kit.Camera(frames=9999, faults={10: lambda: silence.wait(60)})
    stream = LiveStream(
        camera,
        FrameProcessor(session),
        painter=Painter(session.classes),
        sinks=[],
        options=LiveOptions(stale_after_s=0.2, max_age_ms=60_000.0),
        health=Health(listener),
    )
    run = LiveRun(session, [stream])
    run.start()
    try:
        assert kit.until(lambda: "no new frame for over 0.2 s" in stream.health.reasons)
        silence.set()
        assert kit.until(lambda: stream.health.state == "LIVE")
        told_now = stream_state(stream)
        assert told_now["counts"]["analysed"] > 1
        # The watchdog goes on all the time.
        assert kit.until(lambda: stream_state(stream)["checked_ns"] > told_now["checked_ns"])
    finally:
        release.set()
        silence.set()
        run.stop()


@dying
@pytest.mark.parametrize(("error", "state"), [(ZeroDivisionError, "FAULT"), (SystemExit, "FAULT")])
def test_no_error_ends_the_models_thread_unseen(
    session: Session, kit: ModuleType, error: type[BaseException], state: str
) -> None:
    """An error outside the model itself is a failure of the model; a dead thread is told."""

    def fail(*args: Any, **more: Any) -> None:
        raise error

    text = "the model fails: " if error is ZeroDivisionError else "the model's thread has ended"
    (stream,), _ = live(
        session,
        kit.Camera(frames=9999),
        during=lambda run: setattr(run.streams[0], "publish", fail),
        until=told(text),
    )
    assert state in states(stream)


def test_a_frame_that_cannot_be_checked_costs_itself(session: Session, kit: ModuleType) -> None:
    def fail_once(run: LiveRun) -> None:
        checks = run.streams[0]._checks
        check = checks.check

        def once(frame: Frame, *, stepped: bool) -> None:
            if frame.index == 15:
                raise MemoryError
            check(frame, stepped=stepped)

        checks.check = once  # type: ignore[method-assign]

    (stream,), (summary,) = live(session, kit.Camera(frames=40), during=fail_once)
    assert summary.counts.read == 40 == summary.counts.written + summary.counts.dropped
    assert "bad frame: MemoryError" in reasons(stream)


def test_nothing_of_an_old_size_is_drawn_on_a_new_one(session: Session, kit: ModuleType) -> None:
    events: list[FrameEvent] = []
    other = {i: kit.picture(i % 5, 90, 200) for i in range(30, 9999)}
    live(
        SlowModel(session, seconds=0.1),
        kit.Camera(frames=9999, faults=other),
        sinks=[Callback(events.append)],
        options=LiveOptions(max_age_ms=60_000.0),
        until=lambda streams: any(
            e.visible and e.frame.image.shape[0] == 90 and e.result is not None for e in events[:]
        ),
    )
    old = [
        e for e in events if e.result is not None and e.result.frame_size != e.frame.image.shape[:2]
    ]
    assert old
    assert not any(event.visible for event in old)
    # What was in the model when the size changed is dropped, not shown later.
    ids = [e.result.frame_id for e in old if e.result is not None]
    assert len(set(ids)) == 1


def quiet_stream(session: Session, kit: ModuleType) -> LiveStream:
    """A stream whose threads do not run, with one frame."""
    stream = LiveStream(
        kit.Camera(frames=1), FrameProcessor(session), painter=Painter(session.classes), sinks=[]
    )
    frame = Frame(image=kit.picture(0), index=0, time=0.0, captured_ns=now_ns())
    stream._accept(frame, lambda frame: None)
    stream.publish(frame, stream.processor(frame), started_ns=now_ns())
    stream._to_show.get(timeout=0.0)
    stream._unshown_ns = None
    stream._show(frame, None)
    return stream


def test_the_state_is_true_when_it_is_asked_for(
    session: Session, kit: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a watchdog, and after the machine was suspended for ten minutes."""
    stream = quiet_stream(session, kit)
    before = stream_state(stream)
    assert before["state"] == "LIVE", before["reasons"]
    assert before["input"]["age_ms"] < 60_000
    boot = clock._boot_ns
    monkeypatch.setattr(clock, "_boot_ns", lambda: boot() + 600_000_000_000)
    after = stream_state(stream)
    assert after["at_ms"] - before["at_ms"] >= 600_000
    assert after["state"] == "STALE"
    assert "no new frame for over 1 s" in after["reasons"]
    assert after["mask_age_ms"] >= 600_000
    assert after["threads"]["shown"] == {"rate": 0.0, "idle_ms": pytest.approx(600_000, rel=0.1)}


def test_json_holds_no_nan(session: Session, kit: ModuleType) -> None:
    stream = quiet_stream(session, kit)
    assert stream.latest is not None
    instrument = replace(stream.latest.instruments[0], score=float("nan"), angle=float("inf"))
    stream.latest = replace(stream.latest, instruments=(instrument,))
    stream.stages.record("infer", 1.0)
    stream.stages["infer"].sum_ms = float("nan")
    data = json.loads(json.dumps(stream_state(stream), allow_nan=False))
    assert data["instruments"][0]["score"] is None
    assert data["stages"]["infer"]["mean"] is None
