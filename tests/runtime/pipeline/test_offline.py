"""The pipeline of a file keeps its workers busy, and says what processor time a frame took."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from trocar.console.run import print_summary
from trocar.runtime.draw.overlay import Painter
from trocar.runtime.pipeline import offline
from trocar.runtime.pipeline.frame_processor import FrameProcessor, Outputs
from trocar.runtime.pipeline.offline import LosslessOptions, run_lossless
from trocar.runtime.session import Session
from trocar.runtime.sinks.base import FrameEvent
from trocar.runtime.sinks.records import Callback
from trocar.runtime.sources.base import Frame
from trocar.runtime.sources.iterator import IteratorSource

IMAGE = np.zeros((32, 48, 3), np.uint8)


@pytest.fixture
def session(tiny_bundle: Path) -> Iterator[Session]:
    with Session.open(tiny_bundle, threads=1) as opened:
        yield opened


class UnevenModel(FrameProcessor):
    """The model takes long for the first frame: until some others were done, or ten seconds."""

    def __init__(self, session: Session, *, others: int) -> None:
        super().__init__(session)
        self._left = others
        self._enough = threading.Event()
        self.met = False

    def infer(self, frame: Frame) -> tuple[Outputs, float]:
        if frame.index == 0:
            self.met = self._enough.wait(10)
        else:
            self._left -= 1
            if self._left <= 0:
                self._enough.set()
        return super().infer(frame)


def test_one_slow_frame_does_not_stop_the_other_worker(session: Session) -> None:
    events: list[FrameEvent] = []
    processor = UnevenModel(session, others=offline.WAITING + 1)
    run_lossless(
        processor,
        IteratorSource(iter([IMAGE] * 8)),
        sinks=[Callback(events.append)],
        painter=Painter(session.classes),
        options=LosslessOptions(workers=2),
    )
    assert processor.met
    assert [event.frame.index for event in events] == list(range(8))


def test_a_result_does_not_wait_for_the_next_frames(session: Session) -> None:
    seen = threading.Event()

    def frames() -> Iterator[np.ndarray]:
        yield IMAGE
        # The source is slow: the first result is out before the second frame comes.
        assert seen.wait(10)
        yield IMAGE

    summary = run_lossless(
        FrameProcessor(session),
        IteratorSource(frames()),
        sinks=[Callback(lambda event: seen.set())],
        painter=Painter(session.classes),
        options=LosslessOptions(workers=2),
    )
    assert summary.counts.written == 2


def test_the_summary_states_the_processor_time_of_a_frame(
    session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(event: FrameEvent) -> None:
        end = time.thread_time() + 0.02
        while time.thread_time() < end:
            pass

    intervals: list[float] = []
    before = sys.getswitchinterval()
    summary = run_lossless(
        FrameProcessor(session),
        IteratorSource(iter([IMAGE] * 5)),
        sinks=[Callback(work), Callback(lambda event: intervals.append(sys.getswitchinterval()))],
        painter=Painter(session.classes),
    )
    assert summary.processor_ms is not None
    # A sink that works for 20 ms a frame, and little else.
    assert 20 <= summary.processor_ms < 200
    assert summary.to_dict()["processor_ms"] == round(summary.processor_ms, 2)
    print_summary(summary, source="clip")
    assert f"{summary.processor_ms:.1f} ms of processor time a frame" in capsys.readouterr().err
    # While it runs, threads are handed over sooner; afterwards as before.
    assert intervals[0] == pytest.approx(offline.SWITCH_INTERVAL)
    assert sys.getswitchinterval() == before
