"""What a report's page and pictures do for print, narrow windows and colour-blind readers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np

from trocar.contract.classes import ClassTable
from trocar.evaluation.figures import (
    GAP,
    PANEL_WIDTH,
    ShownInstances,
    instance_comparison,
    outlined,
    shown_truth,
)
from trocar.report.page import Page, columns, table
from trocar.report.sections import curves
from trocar.report.sources import Run, read_evaluation


def test_regions_have_lines_of_both_extremes_round_them() -> None:
    frame = np.full((12, 14, 3), 120, np.uint8)
    labels = np.zeros((12, 14), np.uint8)
    labels[3:8, 3:6], labels[3:8, 6:10] = 1, 2
    made = outlined(frame, labels)
    assert (
        made[5, :, 0].tolist()
        == [120, 0, 255, 120, 120, 255, 120, 120, 120, 120, 255, 0] + [120] * 2
    )
    assert made[:, 4, 0].tolist() == [120, 0, 255, *[120] * 5, 255, 0, 120, 120]
    assert (frame == 120).all()


def test_instances_are_drawn_one_by_one_and_what_has_no_partner_is_hatched() -> None:
    table = ClassTable.from_names(["background", "grasper"])
    frame = np.full((200, 420, 3), 90, np.uint8)
    true, found = np.zeros((200, 420), np.uint8), np.zeros((200, 420), np.uint8)
    true[20:60, 20:200], true[100:180, 20:200] = 4, 9  # the second one is missed
    found[22:60, 20:200], found[100:180, 300:400] = 1, 2  # the second one is false
    truth = shown_truth(true, (true > 0).astype(np.uint8))
    assert truth.classes == [1, 1]
    shown = ShownInstances(numbers=found, classes=[1, 1], scores=[0.9, 0.6])
    made = instance_comparison(frame, truth, shown, table)
    assert made.shape == (200, 3 * PANEL_WIDTH + 2 * GAP, 3)
    panels = [made[:, n * (PANEL_WIDTH + GAP) :][:, :PANEL_WIDTH] for n in range(3)]
    assert np.array_equal(panels[0], frame)

    def white(panel: np.ndarray, rows: slice, columns: slice) -> float:
        return float((panel[rows, columns] == 255).all(axis=2).mean())

    inside = slice(120, 160)  # labels stand beside the instruments
    assert white(panels[1], inside, slice(40, 180)) > 0.15
    assert white(panels[2], inside, slice(320, 380)) > 0.15
    assert white(panels[1], slice(30, 50), slice(40, 180)) == 0
    assert white(panels[2], slice(30, 50), slice(40, 180)) == 0
    # Two of one class: two shades.
    assert not np.array_equal(panels[1][40, 110], panels[1][140, 111])
    wrong = ShownInstances(numbers=np.where(true == 4, 1, 0).astype(np.uint8), classes=[2])
    two = ClassTable.from_names(["background", "grasper", "hook"])
    made = instance_comparison(frame, truth, wrong, two)
    assert white(made[:, : 2 * PANEL_WIDTH], slice(30, 50), slice(460, 600)) > 0.15


def test_wide_tables_may_break_their_heads() -> None:
    wide = table([f"score_{i}" for i in range(9)], [[0.5] * 9])
    assert 'class="wide short"' in wide
    assert "score_<wbr>3" in wide
    assert 'class="short"' in table(["a", "b"], [[1, 2]])
    assert 'class=""' in table(["a", "b"], [[1, 2]] * 30)


def test_long_lists_stand_in_columns_and_keep_their_order() -> None:
    text = columns(("score", "value"), [(f"s{i}", i) for i in range(7)])
    assert text.count("<table") == 3
    assert re.findall(r"<td>(s\d)</td>", text) == [f"s{i}" for i in range(7)]
    assert columns(("score", "value"), []) == ""


def test_links_to_sections_can_wrap() -> None:
    page = Page("title")
    for name in ("a", "b"):
        page.section(name, "text")
    assert "</a> <a" in page.html()


def test_pictures_say_which_frame_they_show(tmp_path: Path) -> None:
    for name in ("worst_1.jpg", "best_1.jpg"):
        cv2.imwrite(str(tmp_path / name), np.zeros((4, 5, 3), np.uint8))
    document = {
        "frames": [
            {"name": "op1/3", "iou_mean": 0.25},
            {"name": "op1/4", "iou_mean": None},
        ],
        "pictures": {"worst": ["worst_1.jpg"], "best": ["best_1.jpg", "gone.jpg"]},
        "pictured": {"worst_1.jpg": "op1/3"},
    }
    (tmp_path / "evaluation.json").write_text(json.dumps(document))
    found = read_evaluation(tmp_path)
    assert [details for _, details in found.images("worst")] == [", op1/3, iou_mean 0.250"]
    assert [details for _, details in found.images("best")] == [""]  # of an older evaluation


def test_training_shows_false_alarms_where_the_validation_set_has_empty_frames() -> None:
    def shown(scores: dict[str, float]) -> str:
        page = Page("title")
        best = {"step": 3, "scores": scores}
        history = ({"step": 3, "scores": scores},)
        curves(page, [Run(name="a", metrics={"best": best}, history=history, command="")])
        return page.html()

    with_alarms = shown({"iou_mean": 0.5, "false_alarm_rate": 0.25, "false_alarm_area": 0.0125})
    assert "Validation frames without instruments" in with_alarms
    assert "0.2500" in with_alarms
    assert "1.2500" in with_alarms  # percent of the frame
    assert "Validation frames without" not in shown({"iou_mean": 0.5})
