"""What is drawn, what is seen of the view, and what a viewer would have seen when."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from trocar.contract.classes import ClassRow, ClassTable
from trocar.contract.errors import ConfigError
from trocar.contract.results import FrameResult, Instrument
from trocar.runtime.draw.overlay import OverlayOptions, Painter
from trocar.runtime.locate.field_of_view import FieldOfViewTracker, find_field_of_view
from trocar.runtime.pipeline.frame_processor import FrameProcessor
from trocar.runtime.pipeline.simulated_live import simulate_live
from trocar.runtime.session import Session

TABLE = ClassTable.from_names(["background", "grasper", "scissors"])


def result(labels: np.ndarray, *instruments: Instrument) -> FrameResult:
    return FrameResult(
        frame_id=0, time=0, captured_ns=0, age_ms=0, frame_size=(240, 320), labels=labels,
        instruments=instruments,
    )  # fmt: skip


PLAIN = OverlayOptions(show=("masks", "contours"), legend=False)


def test_regions_take_their_colour_and_leave_the_rest_alone() -> None:
    frame = np.full((240, 320, 3), 100, np.uint8)
    labels = np.zeros((60, 80), np.uint8)
    labels[20:40, 10:50] = 2
    picture = Painter(TABLE, PLAIN).draw(frame, result(labels))
    inside = picture[120, 120].astype(int)
    expected = np.rint(100 * 0.58 + np.array(TABLE[2].colour) * 0.42)
    assert np.abs(inside - expected).max() <= 1
    outside = np.ones((240, 320), bool)
    outside[72:168, 32:208] = False
    assert (picture[outside] == 100).all()
    assert (frame == 100).all()


def test_boxes_tips_tags_and_legend_are_drawn_inside_the_picture() -> None:
    frame = np.zeros((240, 320, 3), np.uint8)
    labels = np.zeros((60, 80), np.uint8)
    labels[0:5, 70:80] = 1
    at_the_corner = Instrument(
        class_id=1, class_name="grasper", score=0.9, box=(280, 0, 320, 20), centroid=(300, 10),
        area=800, axis=(1, 0), angle=0, tips=((319.9, 0.1), (281.0, 239.9)), track_id=12,
    )  # fmt: skip
    picture = Painter(TABLE).draw(frame, result(labels, at_the_corner), status="FAULT", alarm=True)
    assert picture.shape == frame.shape
    assert picture[:40, 150:].any()
    assert picture[-30:, :80].any()


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (33, 1001)])
def test_any_size_can_be_drawn_on(size: tuple[int, int]) -> None:
    labels = np.ones((9, 7), np.uint8)
    instrument = Instrument(
        class_id=1, class_name="x" * 80, score=1, box=(0, 0, size[1], size[0]),
        centroid=(0, 0), area=1, axis=(1, 0), angle=0, tips=((0.5, 0.5),),
    )  # fmt: skip
    frame = np.zeros((*size, 3), np.uint8)
    assert Painter(TABLE).draw(frame, result(labels, instrument), status="s").shape == frame.shape


def test_a_black_class_colour_is_made_visible_and_scores_are_listed() -> None:
    rows = tuple(ClassRow(id=i, name=name, colour=(0, 0, 0)) for i, name in enumerate("ab"))
    table = ClassTable(rows)
    labels = np.ones((6, 8), np.uint8)
    frame = np.zeros((60, 80, 3), np.uint8)
    assert Painter(table, PLAIN).draw(frame, result(labels))[30, 40].max() > 40
    scored = FrameResult(
        frame_id=0, time=0, captured_ns=0, age_ms=0, frame_size=(60, 80),
        scores=np.array([0.2, 0.8], np.float32),
    )  # fmt: skip
    assert Painter(table).draw(frame, scored).any()


def round_picture(x: float, y: float, radius: float, *, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    frame = rng.integers(0, 8, (480, 640, 3)).astype(np.uint8)
    yy, xx = np.mgrid[0:480, 0:640]
    inside = (xx + 0.5 - x) ** 2 + (yy + 0.5 - y) ** 2 < radius * radius
    frame[inside] = rng.integers(90, 160, (int(inside.sum()), 3)).astype(np.uint8)
    cv2.line(frame, (0, 300), (int(x), int(y)), (12, 12, 14), 40)
    return frame


@pytest.mark.parametrize(("x", "y", "radius"), [(320, 240, 230), (350, 250, 300), (300, 230, 200)])
def test_the_round_view_is_found_past_a_dark_instrument(x: float, y: float, radius: float) -> None:
    view = find_field_of_view(round_picture(x, y, radius))
    assert view is not None
    assert abs(view.x - x) < 6
    assert abs(view.y - y) < 6
    assert abs(view.radius - radius) < 7


def test_a_full_picture_has_no_round_view() -> None:
    bright = np.random.default_rng(0).integers(60, 200, (480, 640, 3)).astype(np.uint8)
    assert find_field_of_view(bright) is None
    assert find_field_of_view(np.zeros((480, 640, 3), np.uint8)) is None
    finder = FieldOfViewTracker()
    views = [finder.update(round_picture(320, 240, 230, seed=i)) for i in range(5)]
    assert views[-1] is not None
    for _ in range(100):
        last = finder.update(bright)
    assert last is None


def test_a_viewer_sees_masks_late_by_the_models_time(tiny_bundle: Path, kit: ModuleType) -> None:
    frames = [kit.picture(i) for i in range(30)]
    with Session.open(tiny_bundle, threads=1) as session:
        processor = FrameProcessor(session)
        fast = list(simulate_live(processor, frames, fps=25, latency_ms=0))
        slow = list(simulate_live(processor, frames, fps=25, latency_ms=90))
        hidden = list(simulate_live(processor, frames, fps=25, latency_ms=90, max_age_ms=100))
        measured = list(simulate_live(processor, frames, fps=25))
    assert [s.source_index for s in fast] == list(range(30))
    assert {s.age_ms for s in fast} == {0.0}
    # 90 ms at 25 frames/s: frame 0 is done before frame 3; the model then takes frame 2.
    assert [s.source_index for s in slow[:9]] == [None, None, None, 0, 0, 2, 2, 4, 4]
    ages = [s.age_ms for s in slow if s.age_ms is not None]
    assert min(ages) >= 90
    assert max(ages) <= 90 * 2 + 40
    assert all(s.age_ms is None or s.age_ms <= 100 for s in hidden)
    assert any(s.labels is None for s in hidden[5:])
    assert len(measured) == 30
    with Session.open(tiny_bundle, threads=1) as session, pytest.raises(ConfigError, match="fps"):
        next(simulate_live(FrameProcessor(session), frames, fps=0))
