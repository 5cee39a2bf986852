"""The measures of ``benchmarks/real_film.py``: masks of instruments, truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import layouts
import numpy as np
import pytest
from benchmark_helpers import benchmark_helper

from trocar.contract.classes import ClassRow, ClassTable
from trocar.contract.errors import DataError
from trocar.contract.results import FrameResult
from trocar.runtime.locate.instruments import DEFAULTS, locate
from trocar.runtime.sources.base import Frame
from trocar.runtime.temporal.tracking import Tracker, TrackOptions

masks = benchmark_helper("films.masks")
truth = benchmark_helper("films.truth")
measure = benchmark_helper("films.measure")
report = benchmark_helper("films.report")


PARTS = ClassTable(
    (
        ClassRow(id=0, name="background", colour=(0, 0, 0)),
        ClassRow(id=1, name="shaft", colour=(1, 1, 1), instrument=True, part="shaft", type="tool"),
        ClassRow(id=2, name="jaw", colour=(2, 2, 2), instrument=True, part="jaw", type="tool"),
    )
)


def groups(table: ClassTable) -> dict[int, frozenset[int]]:
    return masks.groups_of(table, DEFAULTS)


def located(labels: np.ndarray, table: ClassTable, scale: int) -> list[np.ndarray]:
    size = labels.shape[0] * scale, labels.shape[1] * scale
    found = locate(labels, None, table, size)
    got = masks.masks_of_found(labels, found, groups(table), frame_size=size)
    assert [int(mask.sum()) for mask in got] == [round(one.area / scale**2) for one in found]
    return got


def test_masks_of_instruments_leave_out_specks_and_keep_parts_together() -> None:
    labels = np.zeros((60, 80), np.uint8)
    labels[10:18, :30], labels[10:18, 30:40] = 1, 2
    labels[40:50, 20:80] = 1
    labels[44:46, 40:42] = 0  # a hole with a speck in it, inside the box of the second instrument
    labels[2:4, 70:72] = 1  # too small to be an instrument
    first, second = sorted(located(labels, PARTS, 3), key=lambda mask: mask.sum())
    assert np.array_equal(first, (labels > 0) & (np.arange(60) < 30)[:, None] & ~speck(labels))
    assert np.array_equal(second, (labels > 0) & (np.arange(60) >= 30)[:, None])


def speck(labels: np.ndarray) -> np.ndarray:
    here = np.zeros(labels.shape, bool)
    here[2:4, 70:72] = True
    return here


def test_masks_of_nested_boxes() -> None:
    labels = np.zeros((60, 80), np.uint8)
    labels[:50, :10], labels[40:50, :70] = 1, 1  # an L, whose box holds the other instrument
    labels[10:20, 40:60] = 1
    got = located(labels, PARTS, 2)
    assert np.array_equal(got[0] | got[1], labels > 0)
    assert not (got[0] & got[1]).any()
    assert got[1][15, 50]


def test_two_instruments_that_touch_are_separated_near_their_axes() -> None:
    labels = np.zeros((80, 100), np.uint8)
    for row in range(80):
        for start, slope in ((10, 0.5), (86, -0.5)):
            column = round(start + slope * row)
            labels[row, column : column + 8] = 1
    labels[78:, :] = 0
    size = labels.shape
    found = locate(labels, None, PARTS, size)
    got = masks.masks_of_found(labels, found, groups(PARTS), frame_size=size)
    assert not any((a & b).any() for i, a in enumerate(got) for b in got[:i])
    assert np.array_equal(np.logical_or.reduce(got), labels > 0)
    for mask, one in zip(got, found, strict=True):
        assert mask.sum() == pytest.approx(one.area, rel=0.15)


def test_an_instrument_that_the_tracker_gave_another_class_keeps_its_pixels() -> None:
    table = ClassTable.from_names(["background", "grasper", "hook"])
    labels = np.zeros((40, 60), np.uint8)
    labels[10:16, :30], labels[28:34, 20:] = 1, 2
    found = tuple(replace(one, class_id=1) for one in locate(labels, None, table, labels.shape))
    got = masks.masks_of_found(labels, found, groups(table), frame_size=labels.shape)
    assert [int(mask.sum()) for mask in got] == [180, 240]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("films")
    return layouts.endovis2015_robotic_testing(root, size=(96, 128))


def test_a_perfect_model_has_no_error(films: Path) -> None:
    two, one = truth.open_films(films)
    assert (two.name, one.name) == ("Dataset1", "Dataset5")
    for film, count in ((two, 2), (one, 1)):
        figures = measured(film, lambda mask: mask)
        assert figures["true_count"] == figures["found_count"] == count
        assert figures["missed"] == figures["added"] == figures["switches"] == 0
        assert figures["iou_binary"] == 1
        assert figures["flicker_percent"] == 0
        assert figures["tips_true"] == figures["tips_measured"] > 0
        assert figures["identities"] == count
    # Alone, an instrument is located on the same pixels as in the truth.
    assert (figures["tip_percent"], figures["entry_percent"]) == (0, 0)


def test_what_is_wrong_is_counted(films: Path) -> None:
    one = truth.open_films(films, ["Dataset5"])[0]
    alarm = measured(one, with_alarm)
    assert (alarm["missed"], alarm["added"]) == (0, 3)
    assert alarm["count_difference"] == alarm["count_error"] == 1
    assert alarm["right_of_found"] == 0.5
    blind = measured(one, np.zeros_like)
    assert (blind["missed"], blind["added"]) == (3, 0)
    assert blind["tip_percent"] is None
    assert blind["iou_binary"] == 0
    assert "–" in report.markdown([{"model": "m", "film": "f", **blind}])


def with_alarm(mask: np.ndarray) -> np.ndarray:
    changed = mask.copy()
    changed[70:90, 90:] = 1
    return changed


def measured(film: object, change: Callable[[np.ndarray], np.ndarray]) -> dict[str, object]:
    """The figures of a model that returns the true labels, changed."""
    table = truth.joined_table(film.frames.table)
    tracker = Tracker(TrackOptions(min_hits=1))

    def process(frame: Frame) -> FrameResult:
        mask = change(film.frames.read(film.items[frame.index]).mask)
        result = FrameResult(
            frame_id=frame.index,
            time=frame.time,
            captured_ns=0,
            age_ms=0,
            frame_size=mask.shape,
            labels=mask,
            instruments=locate(mask, None, table, mask.shape),
        )
        return tracker.apply(frame, result)

    result = measure.measure_film(film, process, table, groups(table), pictures=2)
    sheet = report.contact_sheet(result.shown, table)
    assert sheet.shape == (480 + 6, 4 * 640 + 12, 3)
    return result.figures


def test_films_that_cannot_be_measured_are_refused(films: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no film Dataset9") as error:
        truth.open_films(films, ["Dataset9"])
    assert "Dataset1, Dataset5" in error.value.remedy
    with pytest.raises(DataError, match="no instances"):
        truth.open_films(layouts.kvasir_instrument(tmp_path))
