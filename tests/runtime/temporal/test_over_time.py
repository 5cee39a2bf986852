"""What happens over time: tracks, smoothing, presence."""

from __future__ import annotations

import random
import re
from pathlib import Path

import numpy as np

from trocar.contract.classes import ClassTable
from trocar.contract.results import FrameResult, Instrument
from trocar.runtime.sources.base import Frame
from trocar.runtime.temporal.mask_smoothing import MaskSmoother
from trocar.runtime.temporal.options import TrackOptions
from trocar.runtime.temporal.presence import Presence
from trocar.runtime.temporal.tracking import Tracker

TABLE = ClassTable.from_names(["background", "grasper", "scissors"])
FRAME = Frame(image=np.zeros((4, 4, 3), np.uint8), index=0, time=0, captured_ns=0)


def instrument(
    x: float, y: float, *, class_id: int = 1, entry: tuple[float, float] | None = None
) -> Instrument:
    return Instrument(
        class_id=class_id,
        class_name=TABLE.names[class_id],
        score=1.0,
        box=(x - 60, y - 20, x + 60, y + 20),
        centroid=(x, y),
        area=2400.0,
        axis=(1.0, 0.0),
        angle=0.0,
        entry=entry,
        touches_border=entry is not None,
    )  # fmt: skip


def run_tracker(scenes: list[list[Instrument]], fps: float = 25.0) -> list[list[int | None]]:
    tracker = Tracker(TrackOptions(min_hits=1))
    numbers = []
    for index, found in enumerate(scenes):
        result = FrameResult(
            frame_id=index, time=index / fps, captured_ns=0, age_ms=0, frame_size=(480, 640),
            instruments=tuple(found),
        )  # fmt: skip
        numbers.append([i.track_id for i in tracker.apply(FRAME, result).instruments])
    return numbers


def test_numbers_stay_through_crossing() -> None:
    left, right = (0.0, 100.0), (640.0, 380.0)
    scenes = []
    for t in range(60):
        a = instrument(150 + 6 * t, 200 + 2 * t, entry=left)
        b = instrument(500 - 6 * t, 320 - 2 * t, entry=right)
        scenes.append([a, b] if t % 2 else [b, a])
    numbers = run_tracker(scenes)
    a = {n[0] if t % 2 else n[1] for t, n in enumerate(numbers)}
    b = {n[1] if t % 2 else n[0] for t, n in enumerate(numbers)}
    assert len(a) == len(b) == 1
    assert a != b


def test_numbers_come_back_after_occlusion_and_not_after_long() -> None:
    entry = (0.0, 100.0)
    there = [[instrument(200 + 2 * t, 200, entry=entry)] for t in range(20)]
    back = [[instrument(280, 205, entry=entry)] for _ in range(5)]
    assert {n[0] for n in run_tracker(there + [[]] * 20 + back) if n} == {1}
    assert {n[0] for n in run_tracker(there + [[]] * 80 + back) if n} == {1, 2}


def test_another_instrument_gets_another_number() -> None:
    a = [[instrument(200, 200, entry=(0.0, 100.0))] for _ in range(10)]
    b = [[instrument(230, 220, class_id=2, entry=(640.0, 400.0))] for _ in range(10)]
    assert {n[0] for n in run_tracker(a + b)} == {1, 2}


def test_tracking_is_deterministic() -> None:
    rng = random.Random(3)
    scenes = [
        [instrument(rng.uniform(80, 560), rng.uniform(40, 440)) for _ in range(rng.randrange(4))]
        for _ in range(80)
    ]
    assert run_tracker(scenes) == run_tracker(scenes)


def test_smoothing_holds_unsure_pixels_and_passes_sure_ones() -> None:
    smoother = MaskSmoother(min_confidence=0.75, max_delay_frames=3)
    first = np.zeros((4, 6), np.uint8)
    first[1:3, 1:5] = 1
    sure = np.full((4, 6), 0.9, np.float16)
    smoother.smooth({"labels": first, "confidence": sure}, 0.0)
    second = first.copy()
    second[1, 1] = 0
    second[0, 0] = 2
    unsure = sure.copy()
    unsure[1, 1] = 0.6
    outs = [
        smoother.smooth({"labels": second, "confidence": unsure}, 0.04 * (i + 1))["labels"]
        for i in range(4)
    ]
    assert [int(out[1, 1]) for out in outs] == [1, 1, 1, 0]
    assert all(out[0, 0] == 2 for out in outs)
    late = smoother.smooth({"labels": first, "confidence": unsure * 0}, 5.0)["labels"]
    assert np.array_equal(late, first)


def test_presence_has_hysteresis() -> None:
    presence = Presence(TABLE, time_constant_s=0.2)
    seen = []
    for index in range(100):
        there = 20 <= index < 60 and index not in (30, 31, 45)
        result = FrameResult(
            frame_id=index, time=index / 25, captured_ns=0, age_ms=0, frame_size=(480, 640),
            instruments=(instrument(100, 100),) if there else (),
        )  # fmt: skip
        seen.append(presence.apply(FRAME, result).present)
    on = [index for index, names in enumerate(seen) if names == ("grasper",)]
    assert on == list(range(on[0], on[-1] + 1))
    assert 21 <= on[0] <= 26
    assert 60 <= on[-1] <= 68


def test_no_part_of_the_runtime_trusts_the_wall_clock() -> None:
    """A clock that steps (NTP, daylight saving) must not make a frame old or young."""
    runtime = Path(__file__).resolve().parents[3] / "runtime"
    wall = re.compile(r"\btime\.time\(|\btime_ns\(|datetime\.now|perf_counter")
    # The time of day is stated in the log of an archive and in OpenIGTLink's messages; nothing is
    # measured by it.
    stated = {runtime / "archive" / "state.py", runtime / "sinks" / "openigtlink" / "sink.py"}
    for file in runtime.rglob("*.py"):
        if "cpp" not in file.parts and file not in stated:
            text = file.read_text(encoding="utf-8").replace("monotonic_ns", "")
            assert not wall.search(text), file
