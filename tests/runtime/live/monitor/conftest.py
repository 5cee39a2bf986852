"""A page with a camera behind it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from trocar.runtime.draw.overlay import Painter
from trocar.runtime.live.monitor.server import Monitor
from trocar.runtime.live.run import LiveRun
from trocar.runtime.live.stream import LiveStream
from trocar.runtime.pipeline.frame_processor import FrameProcessor
from trocar.runtime.privacy.guard import FrameGuard
from trocar.runtime.session import Session
from trocar.runtime.telemetry.prometheus import prometheus_text
from trocar.runtime.temporal.presence import Presence
from trocar.runtime.temporal.tracking import Tracker

Page = tuple[Monitor, LiveStream]


@pytest.fixture
def pages(
    tiny_bundle: Path, kit: ModuleType
) -> Callable[..., contextlib.AbstractContextManager[Page]]:
    """Makes pages, each with a camera behind it."""

    @contextlib.contextmanager
    def opened(guard: FrameGuard | None = None) -> Iterator[Page]:
        monitor = Monitor("127.0.0.1", 0)
        camera = kit.Camera(frames=100_000, fps=40, size=(360, 480))
        with Session.open(tiny_bundle, threads=1, spinning=False) as session:
            processor = FrameProcessor(
                session, post_processors=[Tracker(), Presence(session.classes)]
            )
            stream = LiveStream(
                camera, processor, painter=Painter(session.classes),
                sinks=[monitor.feed("camera")], guard=guard,
            )  # fmt: skip
            run = LiveRun(session, [stream])
            monitor.start()
            run.start()
            stop = threading.Event()

            def report(run: LiveRun) -> None:
                monitor.feeds["0"].update(stream)
                monitor.set_metrics(prometheus_text(run.metrics()))

            watcher = threading.Thread(target=run.wait, kwargs={"stop": stop, "report": report})
            watcher.start()
            try:
                yield monitor, stream
            finally:
                stop.set()
                watcher.join(timeout=60)
                monitor.stop()
                run.stop()

    return opened


@pytest.fixture
def page(pages: Callable[..., contextlib.AbstractContextManager[Page]]) -> Iterator[Page]:
    """A page with a camera behind it that runs for as long as the test does."""
    with pages() as one:
        yield one
