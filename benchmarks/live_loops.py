"""Age of the drawn result: Trocar's live mode against the two loops that everybody writes first.

python benchmarks/live_loops.py

The same model, drawing and pictures at 1.5 times the rate that the model sustains, in one run.
*Naive*: read, infer, draw, one after the other, on a camera whose driver queues frames.
*Queue*: a thread reads into a queue, another infers and draws.
Also: what live mode adds to bare inference at a rate that the model does sustain.
"""

from __future__ import annotations

import argparse
import queue
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from time import monotonic_ns

import numpy as np
from helpers.live.model import deeplab_bundle
from helpers.live.scenes import scene

from trocar.runtime.draw.overlay import Painter
from trocar.runtime.live.run import LiveRun
from trocar.runtime.live.stream import LiveStream
from trocar.runtime.pipeline.frame_processor import FrameProcessor
from trocar.runtime.pipeline.options import LiveOptions
from trocar.runtime.session import Session
from trocar.runtime.sinks.base import FrameEvent
from trocar.runtime.sinks.records import Callback
from trocar.runtime.sources.base import Frame


class Camera:
    """Pictures in memory at a steady rate; the capture stamp is when each was due."""

    name, live, total = "camera", True, None

    def __init__(self, pictures: list[np.ndarray], *, fps: float, seconds: float) -> None:
        self.fps: float | None = fps
        self._pictures = pictures
        self._count = int(fps * seconds)

    def frames(self) -> Iterator[Frame]:
        """Gives frames at their time."""
        assert self.fps
        begun = monotonic_ns()
        for index in range(self._count):
            due = begun + round(index / self.fps * 1e9)
            time.sleep(max(0.0, (due - monotonic_ns()) / 1e9))
            yield Frame(
                image=self._pictures[index % len(self._pictures)],
                index=index,
                time=index / self.fps,
                captured_ns=due,
            )

    def close(self) -> None:
        """It ends by itself."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--work", type=Path, help="keep the model here")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = given.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        model = deeplab_bundle(work / "timm-mobilenetv3_small_100.trocar")
        pictures = [scene(index) for index in range(24)]
        with Session.open(model, spinning=False) as session:
            measure(session, pictures, given.seconds)


def measure(session: Session, pictures: list[np.ndarray], seconds: float) -> None:
    painter = Painter(session.classes)
    step: list[float] = []
    bare: list[float] = []
    for image in pictures:
        started = monotonic_ns()
        result = session.run(image)
        painter.draw(image, result)
        step.append((monotonic_ns() - started) / 1e6)
        started = monotonic_ns()
        session.infer(image[None])
        bare.append((monotonic_ns() - started) / 1e6)
    sustained = 1000 / statistics.median(step[4:])
    print(f"the serial loop sustains {sustained:.1f} frames/s at 1080p, network 512x640")
    rate = sustained * 1.5
    for name, loop in (("naive loop", naive), ("queue loop", queued), ("trocar live", live)):
        ages = loop(session, painter, Camera(pictures, fps=rate, seconds=seconds))
        half = len(ages) // 2
        print(
            f"{name:12s} at {rate:.1f} frames/s: age of drawn results p50 "
            f"{np.percentile(ages, 50):7.0f} ms, p99 {np.percentile(ages, 99):7.0f} ms; first half "
            f"p50 {np.percentile(ages[:half], 50):7.0f}, second half "
            f"{np.percentile(ages[half:], 50):7.0f} ({len(ages)} results)"
        )
    overhead(session, painter, pictures, statistics.median(bare[4:]), seconds)


def naive(session: Session, painter: Painter, camera: Camera) -> list[float]:
    ages = []
    for frame in camera.frames():
        painter.draw(frame.image, session.run(frame.image))
        ages.append((monotonic_ns() - frame.captured_ns) / 1e6)
    return ages


def queued(session: Session, painter: Painter, camera: Camera) -> list[float]:
    waiting: queue.Queue[Frame | None] = queue.Queue()

    def read() -> None:
        for frame in camera.frames():
            waiting.put(frame)
        waiting.put(None)

    threading.Thread(target=read, daemon=True).start()
    ages = []
    while (frame := waiting.get()) is not None:
        painter.draw(frame.image, session.run(frame.image))
        ages.append((monotonic_ns() - frame.captured_ns) / 1e6)
    return ages


def live(session: Session, painter: Painter, camera: Camera) -> list[float]:
    ages: list[float] = []

    def note(event: FrameEvent) -> None:
        event.overlay()
        if event.result is not None:
            ages.append((monotonic_ns() - event.result.captured_ns) / 1e6)

    stream = LiveStream(
        camera,
        FrameProcessor(session),
        painter=painter,
        sinks=[Callback(note)],
        options=LiveOptions(max_age_ms=1e9),
    )
    run = LiveRun(session, [stream])
    run.start()
    run.wait()
    run.stop()
    return ages


def overhead(
    session: Session, painter: Painter, pictures: list[np.ndarray], bare_ms: float, seconds: float
) -> None:
    """Capture to result, less the model's own time, at half of the rate it sustains."""
    camera = Camera(pictures, fps=500 / bare_ms, seconds=seconds)
    stream = LiveStream(camera, FrameProcessor(session), painter=painter, sinks=[])
    run = LiveRun(session, [stream])
    run.start()
    run.wait()
    run.stop()
    age = stream.stages["age"].percentile(50)
    infer = stream.stages["infer"].percentile(50)
    limit = max(2.0, 0.1 * infer)
    print(
        f"overhead of live mode at {500 / bare_ms:.1f} frames/s: age p50 {age:.2f} ms, inference "
        f"p50 {infer:.2f} ms (bare, before: {bare_ms:.2f}), beyond it {age - infer:.2f} ms "
        f"(wanted: at most {limit:.2f})"
    )


if __name__ == "__main__":
    main()
