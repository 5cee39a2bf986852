"""A live page whose pictures a test writes: grey, with one instrument in the middle."""

from __future__ import annotations

from contextlib import AbstractContextManager

import numpy as np
from live_pages import driven

from trocar.contract.classes import ClassTable
from trocar.contract.media.clock import now_ns
from trocar.contract.results import FrameResult, Instrument
from trocar.runtime.draw.overlay import OverlayOptions, Painter
from trocar.runtime.live.monitor.feed import Feed
from trocar.runtime.live.monitor.server import Monitor
from trocar.runtime.sinks.base import FrameEvent
from trocar.runtime.sources.base import Frame

GREY = 90


def grey_event(painter: Painter) -> FrameEvent:
    """A grey picture with one instrument in the middle."""
    labels = np.zeros((120, 160), np.uint8)
    labels[40:80, 50:110] = 1
    instrument = Instrument(
        class_id=1, class_name="grasper", score=0.9, box=(50, 40, 110, 80), centroid=(80, 60),
        area=2400, axis=(1, 0), angle=0, tips=((105, 60),), track_id=3,
    )  # fmt: skip
    result = FrameResult(
        frame_id=0, time=0, captured_ns=0, age_ms=0, frame_size=(120, 160), labels=labels,
        instruments=(instrument,),
    )  # fmt: skip
    image = np.full((120, 160, 3), GREY, np.uint8)
    frame = Frame(image=image, index=0, time=0, captured_ns=now_ns())
    return FrameEvent(frame=frame, result=result, painter=painter)


def grey_painter(show: tuple[str, ...]) -> Painter:
    """Draws these parts."""
    return Painter(ClassTable.from_names(["background", "grasper"]), OverlayOptions(show=show))


def written(show: tuple[str, ...]) -> AbstractContextManager[tuple[Monitor, Feed]]:
    """A page whose stream draws these parts, with a picture each few milliseconds."""
    painter = grey_painter(show)
    return driven(lambda number: grey_event(painter), period_s=0.005)
