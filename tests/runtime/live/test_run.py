"""Live mode under faults: what is shown is new, what is lost is counted, nothing waits."""

from __future__ import annotations

import gc
import itertools
import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from live_runs import SlowModel, analysed, live, states

from trocar.contract.errors import SinkError
from trocar.runtime.live.stream import LiveStream
from trocar.runtime.pipeline.options import LiveOptions
from trocar.runtime.session import Session
from trocar.runtime.sinks.base import FrameEvent, Sink
from trocar.runtime.sinks.records import Callback, JsonLines
from trocar.runtime.sinks.video import VideoSink
from trocar.runtime.sources.iterator import RealtimeSource
from trocar.runtime.sources.open import open_source
from trocar.runtime.telemetry.trace import Trace


def test_every_frame_is_shown_or_dropped_and_ages_stay_bounded(
    session: Session, kit: ModuleType
) -> None:
    model = SlowModel(session, seconds=0.05)
    events: list[FrameEvent] = []
    turns = kit.Turns()
    camera = kit.Camera(frames=9999, fps=100)
    _, (summary,) = live(
        model, camera, sinks=[Callback(events.append)], post_processors=[turns], until=analysed(25)
    )
    counts = summary.counts
    assert counts.read == counts.written + counts.dropped
    assert 25 < counts.processed < counts.read
    # The model takes five frames' time: from a queue, nearly every result would be late.
    assert turns.late < len(turns.ends) / 4
    indices = [event.frame.index for event in events]
    assert indices == sorted(indices)
    assert all(s.result is None or s.result.frame_id <= s.frame.index for s in events)


def test_old_masks_are_hidden(session: Session, kit: ModuleType) -> None:
    events: list[FrameEvent] = []
    model = SlowModel(session, seconds=0.3)
    live(
        model,
        kit.Camera(frames=9999, fps=100),
        sinks=[Callback(events.append)],
        options=LiveOptions(max_age_ms=1.0),
        until=lambda streams: any(s.result is not None and not s.visible for s in events[:]),
    )
    assert any(event.result is not None for event in events)
    late = [event for event in events if event.result is not None and not event.visible]
    assert late
    plain = late[-1].painter.draw(
        late[-1].frame.image, None, status=late[-1].status, alarm=late[-1].alarm
    )
    assert np.array_equal(late[-1].overlay(), plain)
    assert "no mask" in late[-1].status


def test_a_model_that_raises_once_costs_one_frame(session: Session, kit: ModuleType) -> None:
    model = SlowModel(session, fail=lambda call: call == 5)
    (stream,), (summary,) = live(model, kit.Camera(frames=9999), until=analysed(20))
    assert summary.counts.failed == 1
    assert model.calls == summary.counts.processed + 1
    reasons = [r for e in stream.health.changes for r in e.reasons]
    assert "the model failed on a frame: out of memory" in reasons
    assert "FAULT" not in states(stream)


def test_a_dead_model_passes_the_picture_through(session: Session, kit: ModuleType) -> None:
    events: list[FrameEvent] = []
    model = SlowModel(session, fail=lambda call: call >= 10)
    (stream,), (summary,) = live(
        model,
        kit.Camera(frames=9999),
        sinks=[Callback(events.append)],
        until=lambda streams: streams[0].counts.failed > 10 and events[-1].result is None,
    )
    counts = summary.counts
    assert counts.written + counts.dropped == counts.read
    assert states(stream)[-1] == "FAULT"
    assert counts.processed == 10
    # The picture goes on after the last result.
    assert events[-1].frame.index > max(s.result.frame_id for s in events if s.result is not None)


def test_the_watchdog_sees_a_model_that_hangs(session: Session, kit: ModuleType) -> None:
    model = SlowModel(session, seconds=0.9)
    (stream,), (summary,) = live(
        model,
        kit.Camera(frames=9999),
        options=LiveOptions(watchdog_s=0.3),
        until=lambda streams: hung(streams[0]),
    )
    assert hung(stream)
    assert summary.counts.written + summary.counts.dropped == summary.counts.read


def hung(stream: LiveStream) -> bool:
    return any("has not answered" in r for e in list(stream.health.changes) for r in e.reasons)


def test_a_sink_that_blocks_stops_nobody(session: Session, kit: ModuleType) -> None:
    release = threading.Event()
    seen: list[int] = []

    def enough(streams: list[LiveStream]) -> bool:
        return len(seen) > 60 and streams[0].sink_workers[0].dropped > 40

    sinks: list[Sink] = [
        Callback(lambda event: release.wait(20) and None, name="blocked"),
        Callback(lambda event: seen.append(event.frame.index), name="good"),
    ]
    (stream,), (summary,) = live(
        session,
        kit.Camera(frames=9999),
        sinks=sinks,
        until=lambda streams: enough(streams) and release.set() is None,
    )
    assert summary.counts.processed > 1
    assert stream.sink_workers[1].written == len(seen) > 60
    assert stream.sink_workers[1].failed == ""


def test_a_sink_that_raises_is_taken_out_and_named(
    session: Session, kit: ModuleType, tmp_path: Path
) -> None:
    def fail(event: FrameEvent) -> None:
        raise SinkError("cannot write rtsp://bob:secret@box/1: broken pipe")

    lines = JsonLines(tmp_path / "o.jsonl", live=True)
    (stream,), (summary,) = live(
        session, kit.Camera(frames=50), sinks=[Callback(fail, name="bad"), lines]
    )
    # A busy machine may have made it STALE as well by the end.
    assert "DEGRADED" in states(stream)
    assert "secret" not in "".join(stream.health.reasons)
    assert "broken pipe" in stream.sink_workers[0].failed
    written = (tmp_path / "o.jsonl").read_text().splitlines()
    assert len(written) + stream.sink_workers[1].dropped == summary.counts.processed
    assert json.loads(written[-1])["schema"] == "1.1"


def test_frames_of_the_wrong_kind_are_counted_and_named(session: Session, kit: ModuleType) -> None:
    camera = kit.Camera(frames=40, faults={7: np.zeros((5, 5), np.float32)})
    (stream,), (summary,) = live(session, camera)
    assert summary.counts.dropped >= 1
    assert summary.counts.written + summary.counts.dropped == 40
    assert any("bad frame" in r for e in stream.health.changes for r in e.reasons)


def test_it_is_not_live_before_the_first_result(session: Session, kit: ModuleType) -> None:
    """However long the model takes for it: a picture without a mask is not what was asked for."""
    events: list[FrameEvent] = []
    model = SlowModel(session, seconds=0.5)

    (stream,), _ = live(
        model,
        kit.Camera(frames=9999),
        sinks=[Callback(events.append)],
        options=LiveOptions(max_age_ms=60_000.0),
        until=lambda streams: streams[0].health.state == "LIVE",
    )
    assert states(stream)[:2] == ["STALE", "LIVE"]
    early = [event for event in events if event.result is None]
    assert early
    assert all(event.alarm for event in early)


def test_silence_makes_it_stale_and_news_makes_it_live(session: Session, kit: ModuleType) -> None:
    # The camera waits for the states, not for a time, so a busy machine can't hurry past one.
    silent: list[int] = []

    def fall_silent() -> None:
        assert kit.until(lambda: stream_state() == "LIVE")
        silent.append(len(seen()))
        assert kit.until(lambda: stream_state() == "STALE")

    def seen() -> list[str]:
        return states(streams[0])

    def stream_state() -> str:
        return streams[0].health.state

    camera = kit.Camera(frames=9999, faults={20: fall_silent})
    streams: list[LiveStream] = []
    live(
        session,
        camera,
        options=LiveOptions(stale_after_s=0.3),
        during=lambda run: streams.extend(run.streams),
        until=lambda streams: bool(silent) and "LIVE" in states(streams[0])[silent[0] + 1 :],
    )
    assert seen()[0] == "STALE"
    after = [state for state, _ in itertools.groupby(seen()[silent[0] - 1 :])]
    assert after[:3] == ["LIVE", "STALE", "LIVE"]


def test_frozen_black_and_outside_pictures_are_flagged() -> None:
    from trocar.runtime.live.image_checks import ImageQualityCheck

    rng = np.random.default_rng(0)
    tissue = rng.integers(0, 40, (120, 160, 3)).astype(np.uint8) + np.array([150, 50, 45], np.uint8)
    ceiling = rng.integers(150, 200, (120, 160, 3)).astype(np.uint8)
    check = ImageQualityCheck()
    assert check.update(tissue, 0.0) == set()
    assert check.update(tissue, 0.5) == set()
    assert check.update(tissue, 1.6) == {"frozen"}
    noisy = tissue.copy()
    noisy[::2, ::3] += 1
    assert check.update(noisy, 1.7) == set()
    assert check.update(np.zeros_like(tissue), 1.8) == {"black"}
    assert check.update(ceiling, 2.0) == set()
    assert "out_of_body" in check.update(ceiling[::-1], 3.1)
    assert check.update(tissue, 3.2) == set()


def test_a_change_of_size_is_allowed_live(
    session: Session, kit: ModuleType, tmp_path: Path
) -> None:
    other = [kit.picture(i, 90, 200) for i in range(5)]
    camera = kit.Camera(frames=9999, faults={i: other[i % 5] for i in range(30, 9999)})
    _, (summary,) = live(
        session,
        camera,
        sinks=[VideoSink(tmp_path / "o.mp4", live=True)],
        until=lambda streams: streams[0].sink_workers[0].written > 50,
    )
    assert summary.counts.written + summary.counts.dropped == summary.counts.read
    frames = kit.read_video(tmp_path / "o.mp4")
    assert frames[0].shape in ((120, 160, 3), (90, 200, 3))
    if frames[0].shape[0] == 90:
        pytest.skip("this machine was so busy that the encoder missed the first thirty frames")
    # 200x90 in 160x120 leaves bars above and below.
    assert frames[-1][:15].mean() < 12
    assert frames[-1][50:70].mean() > 40


def test_streams_share_the_model_and_none_waits(session: Session, kit: ModuleType) -> None:
    model = SlowModel(session, seconds=0.03)
    cameras = [kit.Camera(frames=9999, fps=100) for _ in range(3)]
    streams, summaries = live(model, *cameras, options=LiveOptions(max_batch=2), until=analysed(20))
    processed = [summary.counts.processed for summary in summaries]
    assert min(processed) > 20
    assert max(processed) <= 2 * min(processed)
    assert set(model.batches) <= {1, 2}
    assert 2 in model.batches
    assert all(s.counts.read == s.counts.written + s.counts.dropped for s in streams)


def test_streams_of_different_size_are_not_batched(session: Session, kit: ModuleType) -> None:
    model = SlowModel(session)
    cameras = [kit.Camera(frames=9999), kit.Camera(frames=9999, size=(96, 128))]
    live(model, *cameras, until=analysed(10))
    assert set(model.batches) == {1}


def test_a_file_plays_at_its_own_speed(session: Session, video: Path) -> None:
    started = time.monotonic()
    _, (summary,) = live(session, RealtimeSource(open_source(video), speed=2.0))
    assert time.monotonic() - started >= 29 / 50
    assert summary.counts.read == 30


def test_the_trace_opens_even_when_it_breaks_off(
    session: Session, kit: ModuleType, tmp_path: Path
) -> None:
    trace = Trace(tmp_path / "t.json")
    live(session, kit.Camera(frames=30), trace=trace)
    trace.close()
    events = json.loads((tmp_path / "t.json").read_text())
    names = {event["name"] for event in events}
    assert {"infer", "locate", "show"} <= names
    spans = [event for event in events if event["ph"] == "X"]
    assert all(event["dur"] >= 0 for event in spans)
    assert {"model", "show"} <= {e["args"]["name"] for e in events if e["name"] == "thread_name"}


def test_nothing_leaks_and_memory_stays_flat(session: Session, kit: ModuleType) -> None:
    """A short soak: the long one is ``benchmarks/soak.py``."""
    model = SlowModel(session, seconds=0.004)
    live(model, kit.Camera(frames=100, fps=1000))
    gc.collect()
    before = (threading.active_count(), len(os.listdir("/proc/self/fd")))
    for _ in range(3):
        turns = kit.Turns()
        _, (summary,) = live(model, kit.Camera(frames=700, fps=1000), post_processors=[turns])
        assert summary.counts.read == 700
        assert summary.counts.written + summary.counts.dropped == 700
        assert turns.late < max(8, len(turns.ends) / 4)
    gc.collect()
    # Fewer are fine: a timer of another test may have ended meanwhile.
    assert threading.active_count() <= before[0]
    assert len(os.listdir("/proc/self/fd")) <= before[1]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_costs_the_file_and_nothing_else(session: Session, kit: ModuleType) -> None:
    full = JsonLines(Path("/dev/full"), overwrite=True, live=True)
    seen: list[int] = []
    (stream,), (summary,) = live(
        session,
        kit.Camera(frames=9999),
        sinks=[full, Callback(lambda event: seen.append(event.frame.index))],
        until=lambda streams: bool(streams[0].sink_workers[0].failed) and len(seen) > 30,
    )
    assert "No space left" in stream.sink_workers[0].failed
    assert stream.health.state == "DEGRADED"
    assert summary.counts.processed > 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB: a tmpfs of its own, where this user may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(place)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    if done.returncode:
        pytest.skip(f"this user may not mount a tmpfs: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_small_disk_that_fills_up_costs_its_files_and_nothing_else(
    session: Session, kit: ModuleType, small_disk: Path
) -> None:
    (small_disk / "ballast").write_bytes(bytes(200_000))
    seen: list[int] = []
    sinks: list[Sink] = [
        VideoSink(small_disk / "o.mp4", live=True),
        JsonLines(small_disk / "o.jsonl", live=True),
        Callback(lambda event: seen.append(event.frame.index)),
    ]

    def filled(streams: list[LiveStream]) -> bool:
        video, lines, _ = streams[0].sink_workers
        if video.failed and lines.failed and filled_at == []:
            filled_at.append(len(seen))
        return bool(filled_at) and len(seen) > filled_at[0] + 20

    filled_at: list[int] = []
    (stream,), (summary,) = live(
        session, kit.Camera(frames=99_999, fps=200), sinks=sinks, until=filled
    )
    failures = [worker.failed for worker in stream.sink_workers]
    assert ["No space left" in failure for failure in failures] == [True, True, False], failures
    assert len(seen) > filled_at[0] + 20
    assert stream.health.state == "DEGRADED"
    assert summary.counts.read == summary.counts.written + summary.counts.dropped
