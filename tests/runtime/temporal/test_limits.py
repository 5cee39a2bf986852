"""The defaults of tracking, smoothing and presence, on both sides of each limit."""

from __future__ import annotations

import numpy as np
import pytest

from trocar.contract.classes import ClassTable
from trocar.contract.results import FrameResult, Instrument, Point
from trocar.runtime.sources.base import Frame
from trocar.runtime.temporal.mask_smoothing import MaskSmoother
from trocar.runtime.temporal.options import TrackOptions
from trocar.runtime.temporal.presence import Presence
from trocar.runtime.temporal.tracking import Tracker

TABLE = ClassTable.from_names(["background", "grasper", "scissors"])
FRAME = Frame(image=np.zeros((4, 4, 3), np.uint8), index=0, time=0, captured_ns=0)
PERIOD_S = 0.04


def instrument(x: float, *, class_id: int = 1, entry: Point | None = None) -> Instrument:
    return Instrument(
        class_id=class_id,
        class_name=TABLE.names[class_id],
        score=1.0,
        box=(x - 60, 180, x + 60, 220),
        centroid=(x, 200),
        area=4800.0,
        axis=(1.0, 0.0),
        angle=0.0,
        entry=entry,
    )


def result(time: float, *instruments: Instrument) -> FrameResult:
    return FrameResult(
        frame_id=0,
        time=time,
        captured_ns=0,
        age_ms=0,
        frame_size=(480, 640),
        instruments=instruments,
    )


def track_id(tracker: Tracker, time: float, one: Instrument) -> int | None:
    return tracker.apply(FRAME, result(time, one)).instruments[0].track_id


def test_an_instrument_gets_its_id_at_the_second_match() -> None:
    tracker = Tracker()
    ids = [track_id(tracker, index * PERIOD_S, instrument(200)) for index in range(3)]
    assert ids == [None, 1, 1]


@pytest.mark.parametrize(("gap_s", "expected"), [(1.99, 1), (2.01, 2)])
def test_a_track_ends_after_two_seconds(gap_s: float, expected: int) -> None:
    tracker = Tracker(TrackOptions(min_hits=1))
    assert track_id(tracker, 0.0, instrument(200)) == 1
    assert track_id(tracker, gap_s, instrument(200)) == expected


LEFT, RIGHT = (0.0, 200.0), (400.0, 200.0)


@pytest.mark.parametrize(
    ("second", "is_same"),
    [
        (instrument(500, entry=LEFT), True),  # far: cost 0.8
        (instrument(200, class_id=2, entry=LEFT), True),  # other class: cost 0.45
        (instrument(200, entry=RIGHT), True),  # other entry: cost 0.6
        (instrument(500, class_id=2, entry=LEFT), False),  # far and other class: cost 1.25
        (instrument(500, entry=RIGHT), False),  # far and other entry: cost 1.4
        (instrument(200, class_id=2, entry=RIGHT), False),  # other class and entry: cost 1.05
    ],
)
def test_the_matching_cost_decides(second: Instrument, is_same: bool) -> None:
    tracker = Tracker(TrackOptions(min_hits=1))
    assert track_id(tracker, 0.0, instrument(200, entry=LEFT)) == 1
    assert (track_id(tracker, PERIOD_S, second) == 1) == is_same


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.uint8])
def test_a_change_of_low_confidence_is_delayed_for_three_frames(kind: type) -> None:
    smoother = MaskSmoother()
    scale = 255 if kind is np.uint8 else 1
    low = np.full((2, 2), 0.74 * scale, kind)
    before, after = np.zeros((2, 2), np.uint8), np.ones((2, 2), np.uint8)
    smoother.smooth({"labels": before, "confidence": low}, 0.0)
    seen = [
        int(smoother.smooth({"labels": after, "confidence": low}, i * PERIOD_S)["labels"][0, 0])
        for i in range(1, 6)
    ]
    assert seen == [0, 0, 0, 1, 1]


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.uint8])
def test_a_change_of_high_confidence_is_accepted_at_once(kind: type) -> None:
    smoother = MaskSmoother()
    high = np.full((2, 2), 0.76 * (255 if kind is np.uint8 else 1), kind)
    smoother.smooth({"labels": np.zeros((2, 2), np.uint8), "confidence": high}, 0.0)
    after = np.ones((2, 2), np.uint8)
    smoothed = smoother.smooth({"labels": after, "confidence": high}, PERIOD_S)
    assert (smoothed["labels"] == 1).all()


@pytest.mark.parametrize(("gap_s", "label"), [(0.49, 0), (0.51, 1)])
def test_smoothing_restarts_after_half_a_second(gap_s: float, label: int) -> None:
    smoother = MaskSmoother()
    low = np.full((2, 2), 0.5, np.float32)
    smoother.smooth({"labels": np.zeros((2, 2), np.uint8), "confidence": low}, 0.0)
    after = np.ones((2, 2), np.uint8)
    smoothed = smoother.smooth({"labels": after, "confidence": low}, gap_s)
    assert (smoothed["labels"] == label).all()


def test_presence_begins_with_the_fifth_and_ends_after_the_seventh_frame() -> None:
    """1 - exp(-n / 5) is 0.6 or more from n = 5 on; exp(-n / 5) is below 0.25 from n = 7 on."""
    presence = Presence(TABLE)
    names = []
    for index in range(120):
        shown = [instrument(200)] if index < 100 else []
        names.append(presence.apply(FRAME, result(index * PERIOD_S, *shown)).present)
    is_present = [present == ("grasper",) for present in names]
    assert is_present.index(True) == 4
    assert is_present[4:].index(False) == 106 - 4
