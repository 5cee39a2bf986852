"""Scores against brute force, calibration by hand, and the bootstrap's promises."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from trocar.contract.classes import ClassTable
from trocar.contract.errors import ArgumentError, DataError
from trocar.contract.manifest import InputSpec, Manifest
from trocar.contract.media.label_maps import enlarge
from trocar.evaluation.frames import LabelledFrame
from trocar.evaluation.metrics.bootstrap import interval, paired
from trocar.evaluation.model import Predictor
from trocar.evaluation.output import pick_frames
from trocar.evaluation.scoring import Calibration, Evaluation, FrameScore
from trocar.evaluation.scoring import score as score_at

TABLE = ClassTable.from_names(["background", "grasper", "hook"])


def score(predictor: Predictor, frames: list[LabelledFrame]) -> Evaluation:
    return score_at(predictor, frames, tolerance=2.0)


def predictor_of(answers: dict[int, np.ndarray], confidence: float = 0.75) -> Predictor:
    """A model that answers by the value of the frame's first pixel."""

    def infer(frames: np.ndarray) -> dict[str, np.ndarray]:
        labels = np.stack([answers[int(frame[0, 0, 0])] for frame in frames])
        return {"labels": labels, "confidence": np.full(labels.shape, confidence, np.float16)}

    return Predictor(
        manifest=Manifest(
            name="m",
            task="segmentation",
            method="x",
            classes=TABLE,
            input=InputSpec(height=4, width=6),
        ),
        infer=infer,
        backend="test",
        device="cpu",
        precision="fp32",
    )


def frame(key: int, mask: np.ndarray, group: str = "") -> LabelledFrame:
    image = np.full((*mask.shape, 3), key, np.uint8)
    return LabelledFrame(name=f"f{key}", group=group, image=image, mask=mask)


def test_scores_equal_brute_force(rng) -> None:
    truths = {k: rng.integers(0, 3, (4, 6)).astype(np.uint8) for k in range(3)}
    truths[1][0, :3] = 255
    answers = {k: rng.integers(0, 3, (4, 6)).astype(np.uint8) for k in range(3)}
    made = score(predictor_of(answers), [frame(k, m, f"v{k % 2}") for k, m in truths.items()])
    truth = np.concatenate([truths[k].ravel() for k in range(3)])
    answer = np.concatenate([answers[k].ravel() for k in range(3)])
    keep = truth != 255
    truth, answer = truth[keep], answer[keep]
    for row in TABLE:
        both = ((truth == row.id) & (answer == row.id)).sum()
        either = ((truth == row.id) | (answer == row.id)).sum()
        assert made.scores[f"iou_{row.name}"] == pytest.approx(both / either)
    tool = ((truth > 0) & (answer > 0)).sum() / ((truth > 0) | (answer > 0)).sum()
    assert made.scores["iou_binary"] == pytest.approx(tool)
    assert made.matrix.sum() == keep.sum()
    assert set(made.groups) == {"v0", "v1"}
    assert [f.name for f in made.frames] == ["f0", "f1", "f2"]


def test_a_perfect_model_scores_one_and_an_empty_frame_is_no_number() -> None:
    mask = np.zeros((4, 6), np.uint8)
    tool = mask.copy()
    tool[1:3, 2:5] = 2
    made = score(predictor_of({1: tool, 2: mask}), [frame(1, tool), frame(2, mask)])
    assert made.scores["iou_hook"] == 1
    assert math.isnan(made.scores["iou_grasper"])
    assert math.isnan(made.frames[1].iou_mean)
    text = json.dumps(made.to_dict(), allow_nan=False)
    assert json.loads(text)["scores"]["iou_grasper"] is None


def test_instances_are_scored_where_every_frame_tells_them_apart() -> None:
    tool = np.zeros((4, 6), np.uint8)
    tool[1:3, :4] = 1  # two instruments that touch
    both = np.zeros((4, 6), np.uint16)
    both[1:3, :2], both[1:3, 2:4] = 7, 300
    whole = frame(1, tool)
    told = dataclasses.replace(whole, instances=both)
    made = score(predictor_of({1: tool}), [told])
    assert made.scores["region_f1"] == 1
    # One prediction for two: it overlaps neither by more than half.
    assert made.scores["instance_f1"] == 0
    assert made.scores["instance_dice"] == pytest.approx((2 / 3 + 0) / 2)
    assert made.scores["instance_pq"] == 0
    mixed = score(predictor_of({1: tool}), [told, whole])
    assert not [name for name in mixed.scores if name.startswith("instance_")]


def test_predictions_are_enlarged_to_the_mask() -> None:
    small = np.array([[0, 1], [2, 0]], np.uint8)
    big = np.kron(small, np.ones((2, 3), np.uint8))
    assert (enlarge(small, (4, 6)) == big).all()
    made = score(predictor_of({1: small}), [frame(1, big)])
    assert made.scores["iou_mean"] == 1


def test_nothing_to_score_is_said() -> None:
    with pytest.raises(DataError, match="no labelled frame"):
        score(predictor_of({}), [])


def test_ids_of_another_table_are_refused() -> None:
    mask = np.full((4, 6), 7, np.uint8)
    with pytest.raises(ArgumentError, match=r"0\.\.2"):
        score(predictor_of({1: np.zeros((4, 6), np.uint8)}), [frame(1, mask)])


def test_calibration_by_hand() -> None:
    made = Calibration()
    truth = np.array([[0, 1, 1, 255]], np.uint8)
    labels = np.array([[0, 1, 0, 0]], np.uint8)
    made.add(truth, labels, np.array([[0.9, 0.9, 0.9, 0.1]], np.float32))
    result = made.result()
    assert result["count"] == [3]
    assert result["accuracy"] == pytest.approx([2 / 3], abs=1e-4)
    assert result["ece"] == pytest.approx(0.9 - 2 / 3, abs=1e-6)


def test_confidence_of_exactly_one_stays_in_the_last_bin() -> None:
    made = Calibration()
    one = np.ones((1, 1), np.uint8)
    made.add(one, one, np.ones((1, 1), np.float32))
    assert made.count[-1] == 1


def test_interval_holds_the_mean_and_shrinks_with_more_frames(rng) -> None:
    few, many = rng.normal(0.7, 0.1, 20), rng.normal(0.7, 0.1, 2000)
    low, high = interval(few.tolist())
    assert low < few.mean() < high
    narrow = interval(many.tolist())
    assert (narrow[1] - narrow[0]) < (high - low) / 4
    assert interval(few.tolist()) == (low, high)


def test_whole_groups_are_drawn(rng) -> None:
    # Two videos that differ by much: drawing frames alone would claim far too narrow an interval.
    values = [0.2] * 50 + [0.8] * 50
    groups = ["a"] * 50 + ["b"] * 50
    by_group, by_frame = interval(values, groups=groups), interval(values)
    assert by_group == (pytest.approx(0.2), pytest.approx(0.8))
    assert by_frame[1] - by_frame[0] < 0.2


def test_unknown_values_are_left_out() -> None:
    assert interval([0.5, float("nan"), 0.5]) == (0.5, 0.5)
    assert all(math.isnan(end) for end in interval([float("nan")]))


def test_paired_comparison_sees_a_small_but_steady_gain(rng) -> None:
    a = rng.uniform(0, 1, 60)
    better = paired(a.tolist(), (a + 0.02 + rng.normal(0, 0.005, 60)).tolist())
    assert better.verdict == "B is better"
    assert better.mean == pytest.approx(0.02, abs=0.003)
    same = paired(a.tolist(), (a + rng.normal(0, 0.05, 60)).tolist())
    assert same.verdict == "no difference shown"
    with pytest.raises(ArgumentError, match="same frames"):
        paired([1.0], [1.0, 2.0])


@pytest.mark.parametrize("count", [1, 2, 3, 7, 30])
def test_worst_median_and_best_are_distinct_and_in_order(count) -> None:
    frames = tuple(
        FrameScore(name=f"{i}", group="", iou_binary=0.0, iou_mean=i / 100) for i in range(count)
    )
    empty = FrameScore(name="none", group="", iou_binary=0.0, iou_mean=math.nan)
    picked = pick_frames((*frames, empty))
    names = [name for group in picked.values() for name in group]
    assert len(names) == len(set(names))
    assert "none" not in names
    assert picked["worst"][0] == "0"
    if count > 2:
        assert picked["best"][0] == str(count - 1)
        assert picked["median"]
