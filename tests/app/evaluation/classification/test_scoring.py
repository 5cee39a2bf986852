"""`trocar evaluate` on classifiers: scores by hand, the table, the JSON, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from command_line import run
from numpy.typing import NDArray

from trocar.contract.classes import ClassTable
from trocar.contract.errors import DataError
from trocar.contract.manifest import InputSpec, Manifest
from trocar.evaluation.classification.scoring import open_photos, score_photos
from trocar.evaluation.model import Predictor
from trocar.runtime.enrolment.enroll import enroll

TABLE = ClassTable.from_names(["hook", "grasper", "scissors", "[red] saw"], instruments=[])
TRAINING = {"grasper": 6, "hook": 3, "scissors": 1}


@pytest.fixture
def photos(photo_kit: ModuleType, tmp_path: Path) -> Path:
    """Three classes whose ids differ from the model's; the test photographs tell their number."""
    root = tmp_path / "photos"
    photo_kit.write_folders(root, TRAINING)
    for kind in TRAINING:
        for number in range(4):
            image = np.full((20, 30, 3), 10 * TABLE[kind].id + number, np.uint8)
            photo_kit.write(root / "test" / kind / f"{number}.png", image)
    return root


def answering(**about: Any) -> Predictor:
    """Right, but for numbers 2 and 3 of the scissors: a grasper and a saw, the last unsure."""

    def infer(frames: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        label, number = divmod(int(frames[0, 0, 0, 0]), 10)
        scores = np.zeros((1, 4), np.float32)
        wrong = {2: 1, 3: 3}.get(number, label) if label == 2 else label
        scores[0, wrong] = 1.0 if number == 3 else 8.0
        return {"scores": scores}

    manifest = Manifest(
        name="m", task="classification", method="few-shot", classes=TABLE,
        input=InputSpec(height=32, width=32),
        extra={"classification": {"kind": "local", "scale": 10.0, "threshold": 0.5, **about}},
    )  # fmt: skip
    return Predictor(
        manifest=manifest, infer=infer, backend="torch", device="cpu", precision="fp32"
    )


def test_scores_are_those_counted_by_hand(photos: Path) -> None:
    found = score_photos(answering(), open_photos(photos, TABLE), many=5, few=2)
    scores = found.scores
    assert scores["accuracy"] == pytest.approx(10 / 12)
    assert scores["balanced_accuracy"] == pytest.approx((1 + 1 + 0.5) / 3)
    # F1: hook 1, grasper 8/9 (one claimed too much), scissors 4/6, saw 0 (claimed, never there).
    assert scores["macro_f1"] == pytest.approx((1 + 8 / 9 + 4 / 6 + 0) / 4)
    assert scores["accuracy_many"] == 1.0  # grasper, 6 in training
    assert scores["accuracy_medium"] == 1.0  # hook, 3
    assert scores["accuracy_few"] == 0.5  # scissors, 1
    assert scores["unknown"] == pytest.approx(3 / 12)
    rows = {row["name"]: row for row in found.per_class}
    assert rows["grasper"]["training"] == 6
    assert rows["grasper"]["precision"] == pytest.approx(4 / 5)
    assert rows["scissors"]["recall"] == 0.5
    assert found.matrix[2].tolist() == [0, 1, 2, 1]
    low, high = found.accuracy_interval
    assert low < 10 / 12 < high
    document = found.to_dict()
    json.dumps(document, allow_nan=False)
    assert document["per_class"][3] == {
        "name": "[red] saw", "training": 0, "photos": 0, "recall": None, "precision": 0.0,
        "f1": 0.0,
    }  # fmt: skip
    assert [p["unknown"] for p in document["photos"]] == [False, False, False, True] * 3
    assert document["photos"][-2]["predicted"] == "grasper"


def test_without_a_training_split_shots_are_not_known(photos: Path) -> None:
    shutil.rmtree(photos / "train")
    found = score_photos(answering(), open_photos(photos, TABLE))
    assert np.isnan(found.scores["accuracy_few"])
    assert found.scores["accuracy"] == pytest.approx(10 / 12)
    assert all(row["training"] is None for row in found.per_class)


def test_a_class_that_the_model_does_not_know_is_named(photos: Path) -> None:
    with pytest.raises(DataError, match="does not know: scissors"):
        open_photos(photos, ClassTable.from_names(["hook", "grasper"], instruments=[]))


def test_bundles_with_enrolled_classes_are_scored_on_the_command_line(
    few_bundle: Path, photo_folder: Path, tmp_path: Path, photo_kit: ModuleType,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    bundle = Path(shutil.copytree(few_bundle, tmp_path / "tools.trocar"))
    enroll(
        bundle, "bone saw", [photo_kit.picture("bone saw", n) for n in range(100, 105)], threads=1
    )
    data = Path(shutil.copytree(photo_folder, tmp_path / "data"))
    photo_kit.write_folders(data, {"bone saw": 5}, split="val", first=200)
    out = tmp_path / "scores"
    args = ("--out", out, "--many", 7, "--few", 2, "--against", few_bundle)
    assert run("evaluate", bundle, data, *args) == 3  # the rival does not know the saw
    assert "does not know: bone saw" in capsys.readouterr().err
    assert not out.exists()
    assert run("evaluate", bundle, data, *args[:-1], bundle) == 0
    shown = capsys.readouterr().out
    assert "no difference shown" in " ".join(shown.split())
    found = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    assert found["task"] == "classification"
    assert found["data"]["split"] == "val"
    rows = {row["name"]: row for row in found["per_class"]}
    assert rows["bone saw"]["training"] == 0
    assert rows["bone saw"]["recall"] >= 0.6
    assert found["scores"]["accuracy_few"] == rows["bone saw"]["recall"]
    assert found["scores"]["accuracy_medium"] is None
    assert f"{found['scores']['macro_f1']:.4f}" in shown
    assert sum(map(sum, found["confusion"])) == len(found["photos"]) == 25
    assert run("report", "--evaluation", out, "--out", tmp_path / "report.html") == 0
    assert "bone saw" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--video",), "--video is for segmentation models"),
        (("--few", 30, "--many", 20), "--few is 30, above --many, 20"),
    ],
)
def test_flags_that_do_not_fit(
    flags: tuple[object, ...], words: str, few_bundle: Path, photo_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert run("evaluate", few_bundle, photo_folder, *flags) == 2
    assert words in capsys.readouterr().err
