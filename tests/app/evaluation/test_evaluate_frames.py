"""Which frames an evaluation scores: never, unless asked, those that the model was trained on."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from trocar.contract.classes import ClassTable
from trocar.contract.errors import DataError
from trocar.evaluation.frames import EvaluationFrames
from trocar.train.data.leakage import fingerprint, unseen_frames
from trocar.train.data.readers import open_frames

TABLE = ClassTable.from_names(["background", "grasper"])
CASES = ("case1", "case2", "case3")


@pytest.fixture
def theatre(tmp_path: Path) -> Path:
    """Three videos of three frames, without splits."""
    root = tmp_path / "theatre"
    for number, case in enumerate(CASES):
        for kind in ("images", "masks"):
            (root / kind / case).mkdir(parents=True)
        for i in range(3):
            frame = np.full((12, 16, 3), 20 * number + i, np.uint8)
            frame[: i + 1, : number + 1] = 255
            cv2.imwrite(str(root / "images" / case / f"{i}.png"), frame)
            cv2.imwrite(str(root / "masks" / case / f"{i}.png"), frame[..., 0] // 255)
    TABLE.write(root / "classes.toml")
    return root


def frames_of(root: Path, trained_on: str, split: str | None = None) -> EvaluationFrames:
    return EvaluationFrames(
        root, TABLE, split=split, video=False, task=None, trained_on=[trained_on]
    )


def some(root: Path, *names: str) -> str:
    return fingerprint([open_frames(root).only(names)])


def test_of_a_set_without_splits_what_is_new_is_scored(theatre: Path) -> None:
    # One frame of case1 is enough: the others are of the same video.
    found = frames_of(theatre, some(theatre, "case1/1", "case3/0"))
    assert found.split == "not trained on"
    assert [frame.group for frame in found] == ["case2"] * 3
    assert found.count == 3
    everything = frames_of(theatre, some(theatre, "case1/1"), split="all")
    assert (everything.split, everything.count) == ("all", 9)
    assert frames_of(theatre, "").split == "all"


def test_single_frames_are_taken_by_name(theatre: Path) -> None:
    frames = frames_of(theatre, "")
    names = {"case2/1", "case3/0"}
    assert {frame.name for frame in frames.only(names)} == names


def test_nothing_new_is_refused(theatre: Path) -> None:
    with pytest.raises(DataError, match="trained on 9 of the 9 frames") as error:
        frames_of(theatre, some(theatre, "case1/0", "case2/0", "case3/0"))
    assert "--split train or all" in error.value.remedy


def test_a_split_that_was_trained_on_is_refused(theatre: Path) -> None:
    (theatre / "splits").mkdir()
    for split, case in zip(("train", "val", "test"), CASES, strict=True):
        (theatre / "splits" / f"{split}.txt").write_text("".join(f"{case}/{i}\n" for i in range(3)))
    known = fingerprint([open_frames(theatre).subset("train")])
    assert [frame.group for frame in frames_of(theatre, known)] == ["case3"] * 3
    assert frames_of(theatre, known, split="val").split == "val"
    assert frames_of(theatre, known, split="train").count == 3
    for split, case in (("val", "case2"), (None, "case3")):
        with pytest.raises(DataError, match=r"3 of the 3 frames .*\((val|test)\)"):
            frames_of(theatre, some(theatre, f"{case}/2"), split=split)


def test_frames_of_equal_names_elsewhere_are_others(theatre: Path, tmp_path: Path) -> None:
    known = fingerprint([open_frames(theatre)])
    other = tmp_path / "other" / "theatre"
    for kind in ("images", "masks"):
        (other / kind / "case1").mkdir(parents=True)
        cv2.imwrite(str(other / kind / "case1" / "0.png"), np.zeros((40, 50), np.uint8))
    TABLE.write(other / "classes.toml")
    assert len(unseen_frames(open_frames(other), known)) == 1
    moved = theatre.rename(tmp_path / "moved")
    assert len(unseen_frames(open_frames(moved), known)) == 0


def test_the_task_that_the_model_knows_is_named(tmp_path: Path) -> None:
    root = tmp_path / "Training"
    for op in ("OP1", "OP2"):
        (root / op / "Raw").mkdir(parents=True)
        (root / op / "Masks").mkdir()
        cv2.imwrite(str(root / op / "Raw" / "img_01_raw.png"), np.zeros((12, 16, 3), np.uint8))
        cv2.imwrite(str(root / op / "Masks" / "img_01_class.png"), np.zeros((12, 16), np.uint8))
    table = ClassTable.from_names(["background", "instrument"])
    with pytest.raises(DataError, match="does not know: shaft, manipulator") as error:
        EvaluationFrames(root, table, split=None, video=False, task=None)
    assert error.value.remedy == "pass --task binary"
    assert EvaluationFrames(root, table, split=None, video=False, task="binary").count == 2
