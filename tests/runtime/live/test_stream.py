"""Streams on the loopback: RTSP and UDP by FFmpeg at both ends, lost and found again; recordings.

RTSP runs against FFmpeg's own server side (``rtsp_flags listen``). There is no V4L2 device in a
container: FFmpeg's ``lavfi`` device stands in, opened through the same code by its format name.
"""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from time import monotonic_ns
from types import ModuleType

import pytest

from trocar.runtime.draw.overlay import Painter
from trocar.runtime.live.health import Health
from trocar.runtime.live.run import LiveRun
from trocar.runtime.live.stream import LiveStream
from trocar.runtime.pipeline.frame_processor import FrameProcessor
from trocar.runtime.pipeline.options import LiveOptions
from trocar.runtime.session import Session
from trocar.runtime.sinks.base import FrameEvent, StreamInfo
from trocar.runtime.sinks.video import VideoSink
from trocar.runtime.sources.base import Frame, SourceOptions
from trocar.runtime.sources.open import open_source
from trocar.runtime.sources.reconnect import ReconnectingSource


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


_SENDER = """
import sys, time
sys.path.insert(0, sys.argv[2])
import videos
from trocar.runtime.sinks.video import VideoSink
from trocar.runtime.sinks.base import FrameEvent, StreamInfo
from trocar.runtime.sources.base import Frame
FrameEvent.overlay = lambda event: event.frame.image
for attempt in range(300):
    try:
        sink = VideoSink(sys.argv[1], live=True)
        sink.open(StreamInfo(name="sender", size=(120, 160), fps=50))
        for i in range(500):
            frame = Frame(image=videos.picture(i % 30), index=i, time=i / 50, captured_ns=0)
            sink.write(FrameEvent(frame=frame, result=None, painter=None))
            time.sleep(0.02)
    except Exception:
        time.sleep(0.2)
"""


class Sender:
    """Sends the moving scene to an address until it is stopped."""

    def __init__(self, kit: ModuleType, place: str) -> None:
        self._kit = kit
        self._place = place
        self._stop = threading.Event()
        self.fault: Exception | None = None
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def _send(self) -> None:
        sink = VideoSink(self._place, live=True)
        try:
            begun = time.monotonic()
            while True:
                try:
                    sink.open(StreamInfo(name="sender", size=(120, 160), fps=50))
                    break
                except Exception:
                    if time.monotonic() - begun > 60:
                        raise
                    time.sleep(0.1)
            begun = time.monotonic()
            for index in range(5000):
                if self._stop.is_set():
                    break
                # A busy machine sends fewer frames; their times are true.
                frame = Frame(
                    image=self._kit.picture(index % 30),
                    index=index,
                    time=time.monotonic() - begun,
                    captured_ns=monotonic_ns(),
                )
                sink.write(FrameEvent(frame=frame, result=None, painter=None))  # type: ignore[arg-type]
                time.sleep(0.02)
        except Exception as error:
            self.fault = error
        finally:
            sink.discard()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=10)


@pytest.fixture(autouse=True)
def plain_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender has no painter: its picture is the frame."""
    draw = FrameEvent.overlay
    monkeypatch.setattr(
        FrameEvent,
        "overlay",
        lambda event: event.frame.image if event.painter is None else draw(event),
    )


def test_rtsp_out_and_in_against_ffmpegs_server(kit: ModuleType) -> None:
    place = f"rtsp://127.0.0.1:{free_port()}/live"
    # A process of its own: both ends in one can wait for each other inside FFmpeg.
    sender = subprocess.Popen(
        [sys.executable, "-c", _SENDER, place, str(Path(kit.__file__ or "").parent)]
    )
    options = SourceOptions(options=(("rtsp_flags", "listen"),), timeout_s=60.0)
    source = open_source(place, options)
    try:
        frames = list(itertools.islice(source.frames(), 20))
    finally:
        source.close()
        sender.terminate()
        sender.wait(timeout=10)
    assert source.live
    assert frames[0].image.shape == (120, 160, 3)
    assert [frame.index for frame in frames] == list(range(20))
    times = [frame.time for frame in frames]
    assert times == sorted(times)
    assert times[-1] - times[0] == pytest.approx(19 / 50, abs=0.1)
    assert abs(frames[0].image.astype(int)[60, 70] - kit.picture(0)[60, 70]).max() < 40


def test_a_lost_udp_stream_is_found_again(tiny_bundle: Path, kit: ModuleType) -> None:
    place = f"udp://127.0.0.1:{free_port()}"
    options = SourceOptions(timeout_s=1.0)
    health = Health()
    source = ReconnectingSource(
        lambda: open_source(place, options), name=place, listener=health, max_pause_s=0.5
    )
    with Session.open(tiny_bundle, threads=1) as session:
        stream = LiveStream(
            source, FrameProcessor(session), painter=Painter(session.classes), sinks=[],
            options=LiveOptions(stale_after_s=0.4), health=health,
        )  # fmt: skip
        run = LiveRun(session, [stream])
        sender = Sender(kit, place)
        run.start()
        stop = threading.Event()
        watcher = threading.Thread(target=run.wait, kwargs={"stop": stop}, daemon=True)
        watcher.start()
        try:
            assert kit.until(lambda: stream.health.state == "LIVE" and stream.counts.processed > 5)
            sender.stop()
            assert kit.until(lambda: stream.health.state == "STALE")
            assert kit.until(lambda: stream.health.state == "FAULT")
            # Garbage on the wire is neither a picture nor the end.
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as noise:
                for _ in range(50):
                    noise.sendto(os.urandom(1316), ("127.0.0.1", int(place.rpartition(":")[2])))
            before = stream.counts.processed
            sender = Sender(kit, place)
            assert kit.until(
                lambda: stream.health.state == "LIVE" and stream.counts.processed > before + 5
            )
        finally:
            sender.stop()
            stop.set()
            watcher.join(timeout=5)
            (summary,) = run.stop()
    assert source.reconnects >= 1
    assert summary.counts.read == summary.counts.written + summary.counts.dropped


def test_a_recording_survives_being_killed(
    tiny_bundle: Path, kit: ModuleType, minute: Path, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "trocar.cli", "run", str(tiny_bundle), str(minute), "--live",
         "--overlay", "o.mp4", "--json", "o.jsonl"],
        cwd=tmp_path, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert kit.until(lambda: _lines(tmp_path / "o.partial.jsonl") > 60)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["o.partial.jsonl", "o.partial.mp4"]
    frames = kit.read_video(tmp_path / "o.partial.mp4")
    # About sixty frames were shown; one second of 25 frames may be lost.
    assert len(frames) > 30
    assert _lines(tmp_path / "o.partial.jsonl") > 60


def test_sigterm_ends_a_live_run_with_whole_files(
    tiny_bundle: Path, kit: ModuleType, minute: Path, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "trocar.cli", "run", str(tiny_bundle), str(minute), "--live",
         "--overlay", "o.mp4", "--json", "o.jsonl", "--metrics", "m.json"],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert kit.until(lambda: _lines(tmp_path / "o.partial.jsonl") > 20)
    process.send_signal(signal.SIGTERM)
    _, words = process.communicate(timeout=90)
    assert process.returncode == 130
    assert "Traceback" not in words
    assert len(kit.read_video(tmp_path / "o.mp4")) > 15
    assert '"read"' in (tmp_path / "m.json").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.json", "o.jsonl", "o.mp4"]


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0
