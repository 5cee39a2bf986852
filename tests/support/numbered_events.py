"""Events of a live run whose pictures and results carry their numbers.

feed.write(event_of(7))
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from numbered_videos import HEIGHT, WIDTH, numbered

from trocar.contract.classes import ClassTable
from trocar.contract.results import FrameResult, Instrument
from trocar.runtime.draw.overlay import OverlayOptions, Painter
from trocar.runtime.sinks.base import FrameEvent
from trocar.runtime.sources.base import Frame

PAINTER = Painter(
    ClassTable.from_names(["background", "grasper"]), OverlayOptions(show=(), legend=False)
)


def event_of(
    number: int, *, height: int = HEIGHT, width: int = WIDTH, **changes: Any
) -> FrameEvent:
    """A numbered picture with an instrument whose box begins at the number."""
    one = Instrument(
        class_id=1, class_name="grasper", score=0.9, box=(number, 0, number + 9, 9),
        centroid=(4, 4), area=81.0, axis=(1.0, 0.0), angle=0.0,
    )  # fmt: skip
    result = FrameResult(
        frame_id=number, time=number / 25, captured_ns=number, age_ms=0.0,
        frame_size=(height, width), instruments=(one,),
    )  # fmt: skip
    frame = Frame(
        image=numbered(number, height, width), index=number, time=number / 25, captured_ns=number
    )
    event = FrameEvent(frame=frame, result=result, painter=PAINTER)
    return replace(event, **changes)
