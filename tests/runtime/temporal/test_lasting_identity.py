"""An instrument keeps its number through what real films do, and specks get none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from trocar.contract.classes import ClassTable
from trocar.contract.errors import ConfigError
from trocar.contract.instances.masks import Mask
from trocar.contract.results import FrameResult, Instrument, Point
from trocar.runtime.pipeline.frame_processor import FrameProcessor
from trocar.runtime.sources.base import Frame
from trocar.runtime.temporal.matching import assign
from trocar.runtime.temporal.options import PersistenceOptions, TrackOptions
from trocar.runtime.temporal.tracking import Tracker

TABLE = ClassTable.from_names(["background", "grasper", "scissors"])
BLANK = np.zeros((4, 4, 3), np.uint8)
SIZE = (480, 640)
PERIOD_S = 0.04

Scene = Sequence[Instrument]


def region(
    box: tuple[float, float, float, float], *, entry: Point | None = None, **changes: Any
) -> Instrument:
    """A horizontal bar that enters on the left where it has an entry; its tip is on the right."""
    x0, y0, x1, y1 = box
    middle = (y0 + y1) / 2
    one = Instrument(
        class_id=1,
        class_name="grasper",
        score=0.9,
        box=box,
        centroid=((x0 + x1) / 2, middle),
        area=(x1 - x0) * (y1 - y0),
        axis=(1.0, 0.0),
        angle=0.0,
        tips=((x1, middle),),
        entry=entry,
        touches_border=entry is not None,
    )
    return replace(one, **changes)


def whole(tip: float = 300.0, y: float = 200.0, **changes: Any) -> Instrument:
    return region((0, y - 20, tip, y + 20), entry=(0.0, y), **changes)


SPECK = region((400, 300, 420, 320), score=0.8)


def results(
    tracker: Tracker,
    scenes: Sequence[Scene],
    *,
    times: Sequence[float] | None = None,
    image: Callable[[int], np.ndarray] = lambda index: BLANK,
) -> list[FrameResult]:
    found = []
    for index, scene in enumerate(scenes):
        time = index * PERIOD_S if times is None else times[index]
        frame = Frame(image=image(index), index=index, time=time, captured_ns=0)
        result = FrameResult(
            frame_id=index,
            time=time,
            captured_ns=0,
            age_ms=0,
            frame_size=SIZE,
            instruments=tuple(scene),
        )
        found.append(tracker.apply(frame, result))
    return found


def ids(found: Sequence[FrameResult]) -> list[list[int | None]]:
    return [[one.track_id for one in result.instruments] for result in found]


def persistent() -> Tracker:
    return Tracker(None, PersistenceOptions())


def test_a_loss_of_half_a_second() -> None:
    scenes = [[whole()]] * 5 + [[]] * 13 + [[whole(290)]] * 3
    assert ids(results(persistent(), scenes))[-3:] == [[1], [1], [1]]


def test_blur_lowers_the_score_and_nothing_ends() -> None:
    blurred = whole(score=0.55)
    found = ids(results(persistent(), [[whole()]] * 5 + [[blurred]] * 20 + [[whole()]] * 3))
    assert found[1:] == [[1]] * 27
    strict = Tracker(None, PersistenceOptions(relative_score=0.0))
    assert ids(results(strict, [[blurred]] * 20)) == [[]] * 20
    # A score that stays low ends it.
    assert ids(results(persistent(), [[whole()]] * 5 + [[whole(score=0.2)]] * 20))[-1] == []


def test_a_model_that_is_never_sure_keeps_its_instruments() -> None:
    unsure, sure = whole(score=0.5), region((0, 300, 300, 360), entry=(0.0, 330.0), score=0.95)
    assert ids(results(persistent(), [[unsure]] * 5))[1:] == [[1]] * 4
    # Beside one that it is sure of, the same score is too low, and half as much always is.
    assert all(len(found) == 1 for found in ids(results(persistent(), [[unsure, sure]] * 5)))
    assert ids(results(persistent(), [[whole(score=0.4)]] * 20)) == [[]] * 20


def test_what_only_a_better_region_lets_in_has_to_last() -> None:
    best, other = whole(score=0.7), region((0, 300, 200, 340), entry=(0.0, 320.0), score=0.6)
    shown = [len(row) for row in ids(results(persistent(), [[best, other]] * 30))]
    first = shown.index(2)
    assert shown == [1] * first + [2] * (30 - first)
    assert first * PERIOD_S == pytest.approx(0.4, abs=PERIOD_S)
    # A flash of nine frames gets no number; one that is sure is there at once.
    tracker = persistent()
    flash = [[best]] * 3 + [[best, other]] * 9 + [[best]] * 3
    assert {len(row) for row in ids(results(tracker, flash))} == {1}
    assert ids(results(persistent(), [[best, replace(other, score=0.66)]] * 2))[1] == [1, 2]


@pytest.mark.parametrize(("camera", "expected"), [(True, [[1, 2]] * 6), (False, None)])
def test_a_fast_pan(camera: bool, expected: list[list[int | None]] | None) -> None:
    """Two instruments of one class, and the second comes to where the first was."""
    texture = np.random.default_rng(3).integers(0, 255, (30, 100), np.uint8)
    wide = np.repeat(np.repeat(texture, 16, axis=0), 16, axis=1)

    def image(index: int) -> np.ndarray:
        left = 400 - 120 * max(0, index - 4)
        return np.repeat(wide[:, left : left + 640, None], 3, axis=2)

    scenes = []
    for index in range(8):
        shift = 120 * max(0, index - 4)
        boxes = [(x + shift, 180, x + 50 + shift, 190) for x in (20, 140)]
        scenes.append([region(box, area=area) for box, area in zip(boxes, (510, 500), strict=True)])
    found = ids(results(Tracker(TrackOptions(camera=camera)), scenes, image=image))[2:]
    if expected is None:
        assert found != [[1, 2]] * 6
    else:
        assert found == expected


@pytest.mark.parametrize(("away_s", "number"), [(1.8, 1), (2.2, 2)])
def test_exit_and_entry_on_the_same_side(away_s: float, number: int) -> None:
    out = [[whole(300 - 50 * step)] for step in range(6)]
    back = [[whole(60 + 50 * step, y=215)] for step in range(5)]
    times = [PERIOD_S * step for step in range(6)]
    times += [times[-1] + away_s + PERIOD_S * step for step in range(5)]
    assert ids(results(persistent(), out + back, times=times))[-1] == [number]


def test_the_time_that_a_number_is_kept_is_an_option() -> None:
    tracker = Tracker(TrackOptions(max_lost_s=10.0))
    times = [0.0, 0.04, 9.0, 9.04]
    assert ids(results(tracker, [[whole()]] * 4, times=times))[-1] == [1]


@pytest.mark.parametrize("step", [0.0, 2 * PERIOD_S, 0.5, -PERIOD_S])
def test_uneven_time_steps(step: float) -> None:
    """Times that stand still, jump, or step back; the instrument moves on."""
    times = [0.0]
    for index in range(1, 30):
        times.append(times[-1] + (step if index % 3 == 0 else PERIOD_S))
    scenes = [[whole(200 + 4 * index), whole(150, y=400)] for index in range(30)]
    assert ids(results(persistent(), scenes, times=times))[1:] == [[1, 2]] * 29


def test_the_shaft_vanishes_and_comes_back() -> None:
    tip = region((240, 185, 300, 215))
    scenes = [[whole()]] * 5 + [[tip]] * 10 + [[whole()]] * 5 + [[whole(180)]] * 5 + [[whole()]]
    assert ids(results(persistent(), scenes))[1:] == [[1]] * 25


def test_a_class_that_flickers() -> None:
    other = whole(class_id=2, class_name="scissors")
    scenes = [[whole()]] * 5 + [[other], [whole()], [whole()]] * 4
    found = results(persistent(), scenes)
    assert ids(found)[1:] == [[1]] * 16
    assert {result.instruments[0].class_name for result in found} == {"grasper"}
    # It changes when it was seen as the other one for longer; without votes, at once.
    found = results(persistent(), [[whole()]] * 5 + [[other]] * 30)
    assert found[-1].instruments[0].class_name == "scissors"
    found = results(Tracker(TrackOptions(vote=False)), [[whole()]] * 5 + [[other]])
    assert found[-1].instruments[0].class_name == "scissors"
    assert found[-1].instruments[0].track_id == 1


def test_a_speck_of_two_frames_gets_no_number() -> None:
    tracker = persistent()
    scenes = [[whole()]] * 5 + [[whole(), SPECK]] * 2 + [[whole()]] * 5
    assert ids(results(tracker, scenes))[1:] == [[1]] * 11
    assert tracker.hidden == 2
    processor = FrameProcessor(cast(Any, SimpleNamespace(notes=())), post_processors=[tracker])
    assert processor.notes == ("2 regions did not last or had a low score: left out",)
    # Without persistence it is reported, and gets the next number.
    assert ids(results(Tracker(), scenes))[6] == [1, 2]


def test_what_floats_is_reported_when_it_lasts() -> None:
    shown = [len(result.instruments) for result in results(persistent(), [[SPECK]] * 30)]
    first = shown.index(1)
    assert shown == [0] * first + [1] * (30 - first)
    assert first * PERIOD_S == pytest.approx(0.4, abs=PERIOD_S)
    at_once = Tracker(None, PersistenceOptions(floating_s=0))
    assert ids(results(at_once, [[SPECK]] * 3)) == [[None], [1], [1]]
    # It does not last when it is seen in every fifth frame only.
    scenes = [[SPECK] if index % 5 == 0 else [] for index in range(100)]
    assert not any(any(row) for row in ids(results(persistent(), scenes)))


def test_what_touches_an_instrument_is_reported_at_once() -> None:
    beside = region((250, 220, 290, 260), class_id=2, class_name="scissors")
    found = results(persistent(), [[whole(), beside]] * 2)
    assert ids(found) == [[None, None], [1, 2]]


def test_parts_that_came_apart_are_one_instrument() -> None:
    parts = [
        whole(200, tips=((200.0, 200.0),)),
        region((230, 185, 300, 215), tips=((300.0, 205.0),), score=0.7),
    ]
    tracker = persistent()
    found = results(tracker, [[whole()]] * 5 + [parts] * 8 + [[whole()]] * 2)
    assert ids(found)[1:] == [[1]] * 14
    one = found[8].instruments[0]
    assert one.box == (0, 180, 300, 220)
    assert one.tips == ((300.0, 205.0),)
    assert one.entry == (0.0, 200.0)
    assert one.area == sum(part.area for part in parts)
    assert one.score == pytest.approx((8000 * 0.9 + 2100 * 0.7) / 10100)
    assert one.axis == pytest.approx((0.99986, 0.01666), abs=1e-5)
    assert tracker.joined == 8
    # Without joining, or beside the line of the instrument, they are two.
    apart = Tracker(TrackOptions(join=False))
    assert len(results(apart, [[whole()]] * 5 + [parts])[-1].instruments) == 2
    aside = [parts[0], region((230, 225, 300, 255))]
    assert len(results(Tracker(), [[whole()]] * 5 + [aside])[-1].instruments) == 2


def test_joined_parts_have_one_mask_and_instances_are_not_joined() -> None:
    def mask(left: int, right: int) -> Mask:
        return Mask(np.ones((4, right - left), np.bool_), 20, left, (50, 60), (500, 600))

    parts = [whole(200, mask=mask(0, 20)), region((230, 185, 300, 215), mask=mask(23, 30))]
    shown = results(persistent(), [[whole()]] * 5 + [parts])[-1].instruments[0]
    assert shown.mask is not None
    assert np.flatnonzero(shown.mask.full()[20]).tolist() == [*range(20), *range(23, 30)]
    instances = [replace(one, instance=number) for number, one in enumerate(parts, 1)]
    tracker = Tracker()
    assert len(results(tracker, [[whole(instance=1)]] * 5 + [instances])[-1].instruments) == 2
    assert tracker.joined == 0


def test_a_second_instrument_that_enters_is_no_part() -> None:
    second = region((100, 190, 290, 210), entry=(100.0, 210.0))
    found = results(Tracker(), [[whole()]] * 5 + [[whole(), second]] * 3)
    assert ids(found)[-1] == [1, 2]


def test_a_good_pair_is_not_given_up_for_a_second_pair() -> None:
    """Otherwise a whole would change its number, only so that a part of it gets one."""
    costs = np.array([[0.0, 0.3], [0.3, 5.0]])
    assert assign(costs) == [(0, 0)]
    assert assign(np.array([[0.5, 0.6], [0.6, 0.95]])) == [(0, 1), (1, 0)]
    assert assign(np.array([[0.1, 0.9], [0.9, 0.2]])) == [(0, 0), (1, 1)]
    assert assign(np.array([[1.2]])) == []


def test_more_regions_than_are_tracked() -> None:
    many = [region((10 * i, 10, 10 * i + 5, 15 + i)) for i in range(60)]
    tracker = Tracker(TrackOptions(min_hits=1, max_tracked=50))
    found = results(tracker, [many] * 2)
    numbers = {one.box: one.track_id for one in found[1].instruments}
    assert len(numbers) == 60
    assert [numbers[one.box] for one in many[:10]] == [None] * 10
    assert sorted(numbers[one.box] or 0 for one in many[10:]) == list(range(1, 51))
    assert tracker.notes == ("20 regions got no track: more than 50 in a frame",)


def test_regions_that_never_come_back_leave_nothing_behind() -> None:
    rng = np.random.default_rng(2)
    tracker = Tracker(None, PersistenceOptions())
    scenes = [
        [region((x, y, x + 5, y + 5)) for x, y in rng.uniform(0, 470, (40, 2))] for _ in range(60)
    ]
    results(tracker, scenes)
    # At most those of the last quarter of a second.
    assert len(tracker._tracks) <= 40 * 8


def test_equal_frames_give_equal_numbers() -> None:
    rng = np.random.default_rng(5)
    scenes = [
        [whole(float(tip), y=float(y)) for tip, y in rng.uniform(60, 420, (3, 2))]
        for _ in range(60)
    ]
    assert ids(results(persistent(), scenes)) == ids(results(persistent(), scenes))


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        (TrackOptions, {"max_lost_s": 0}, "max_lost_s is 0"),
        (TrackOptions, {"min_hits": 0}, "min_hits is 0"),
        (TrackOptions, {"max_tracked": 0}, "max_tracked is 0"),
        (PersistenceOptions, {"floating_s": -1}, "floating_s is -1"),
        (PersistenceOptions, {"enter_score": 1.5}, "enter_score is 1.5"),
        (PersistenceOptions, {"exit_score": 0.9}, "exit_score is 0.9 and enter_score is 0.65"),
    ],
)
def test_wrong_options(kind: type, changes: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        kind(**changes)


def test_tracks_end_when_the_frames_change_their_size() -> None:
    tracker = Tracker()
    before = results(tracker, [[whole()]] * 5)
    frame = Frame(image=BLANK, index=5, time=5 * PERIOD_S, captured_ns=0)
    # At another size the same place is another one: the number there begins anew.
    small = replace(before[-1], frame_size=(240, 320), time=frame.time, instruments=(whole(),))
    first = tracker.apply(frame, small)
    later = frame
    for index in range(6, 10):
        later = replace(frame, index=index, time=index * PERIOD_S)
        last = tracker.apply(later, replace(small, time=later.time))
    assert [one.track_id for one in before[-1].instruments] == [1]
    assert [one.track_id for one in first.instruments] == [None]
    assert [one.track_id for one in last.instruments] == [2]
