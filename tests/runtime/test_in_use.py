"""What several threads use is freed when none is inside; a model's outputs are numbers."""

from __future__ import annotations

import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from trocar.contract.errors import BackendError
from trocar.runtime.draw.overlay import Painter
from trocar.runtime.frames import is_finite
from trocar.runtime.in_use import InUse
from trocar.runtime.session import Session
from trocar.runtime.sinks.base import FrameEvent, StreamInfo
from trocar.runtime.sinks.video import VideoSink
from trocar.runtime.sources.base import Frame


class Inside:
    """Holds a thread inside a call until it is told, and notes what is freed meanwhile."""

    def __init__(self) -> None:
        self.entered, self.leave = threading.Event(), threading.Event()
        self.inside = False
        self.freed = 0
        self.freed_while_inside = False

    def stay(self) -> None:
        self.inside = True
        self.entered.set()
        assert self.leave.wait(60)
        self.inside = False

    def free(self) -> None:
        self.freed += 1
        self.freed_while_inside |= self.inside


def test_the_last_user_frees_once() -> None:
    freed: list[int] = []
    guard = InUse(lambda: freed.append(1))
    with guard.using() as outer:
        with guard.using() as inner:
            guard.close()
        with guard.using() as late:
            assert not late
        assert freed == []
    assert (outer, inner, freed) == (True, True, [1])
    guard.close()
    assert freed == [1]


def test_a_session_is_freed_when_no_thread_is_in_it(tiny_bundle: Path) -> None:
    session = Session.open(tiny_bundle, threads=1)
    inside = Inside()

    class Backend:
        name = device = precision = "x"

        def __init__(self, backend: Any) -> None:
            self._backend = backend

        def infer(self, frames: Any) -> Any:
            inside.stay()
            return self._backend.infer(frames)

        def close(self) -> None:
            inside.free()

    session = Session(Backend(session._backend), session.manifest)
    frame = np.zeros((1, 32, 40, 3), np.uint8)
    worker = threading.Thread(target=session.infer, args=(frame,))
    worker.start()
    assert inside.entered.wait(60)
    session.close()
    assert inside.freed == 0
    inside.leave.set()
    worker.join(60)
    assert (inside.freed, inside.freed_while_inside) == (1, False)
    with pytest.raises(BackendError, match="the session is closed"):
        session.infer(frame)


def test_a_video_that_is_discarded_while_it_encodes_is_closed_by_its_writer(
    tmp_path: Path, kit: ModuleType, three_classes: Any
) -> None:
    sink = VideoSink(tmp_path / "o.mp4")
    sink.open(StreamInfo(name="x", size=(120, 160), fps=25.0))
    inside = Inside()

    class Container:
        """FFmpeg's, whose writing takes a while."""

        def __init__(self, container: Any) -> None:
            self._container = container

        def mux(self, packet: Any) -> None:
            inside.stay()
            self._container.mux(packet)

        def close(self) -> None:
            inside.free()
            self._container.close()

    sink._container = Container(sink._container)
    painter = Painter(three_classes)

    def write() -> None:
        for index in range(60):
            frame = Frame(image=kit.picture(index), index=index, time=index / 25, captured_ns=0)
            sink.write(FrameEvent(frame=frame, result=None, painter=painter))

    writer = threading.Thread(target=write)
    writer.start()
    assert inside.entered.wait(60)
    sink.discard()
    assert inside.freed == 0
    inside.leave.set()
    writer.join(60)
    assert (inside.freed, inside.freed_while_inside) == (1, False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(
    ("value", "finite"),
    [(0.5, True), (-0.0, True), (6.1e-5, True), (65504.0, True), (np.nan, False), (-np.inf, False)],
)
def test_what_is_finite(dtype: Any, value: float, finite: bool) -> None:
    values = np.ones((3, 5), dtype)
    values[1, 2] = value
    assert is_finite(values) is finite
    assert is_finite(values[:, ::2]) is finite


def test_integers_are_finite() -> None:
    assert is_finite(np.full((2, 2), 255, np.uint8))


def test_confidence_that_is_no_number_is_a_failure_of_the_model(session: Session) -> None:
    outputs = session.infer(np.zeros((1, 64, 80, 3), np.uint8))
    confidence = np.array(outputs["confidence"])
    confidence[0, 1, 1] = np.nan
    session._backend.infer = lambda frames: {**outputs, "confidence": confidence}  # type: ignore[method-assign]
    with pytest.raises(BackendError, match="'confidence' holds numbers that are not finite"):
        session.run(np.zeros((64, 80, 3), np.uint8))
