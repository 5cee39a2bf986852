"""Centres and offsets against their formulas, settings, scores and notes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import method_formulas as formulas
import numpy as np
import pytest
import torch
from method_cases import LATE
from method_subjects import SPEC, labelled_images
from train_fixtures import TINY, TINY_RUN

from trocar.contract.classes import ClassTable
from trocar.contract.errors import ConfigError, DataError
from trocar.train.data.config import DataConfig, DatasetPaths
from trocar.train.data.open import open_data
from trocar.train.data.sample import Sample
from trocar.train.metrics.instances import painted, true_instances
from trocar.train.run import TrainRequest, run_method


def expected_losses(
    heat: np.ndarray, offsets: np.ndarray, numbers: np.ndarray, mask: np.ndarray, sigma: float
) -> tuple[list[float], list[float]]:
    """Both terms of each image in plain loops; classes 1 and 2 are instruments."""
    height, width = mask.shape[1:]
    y, x = np.mgrid[0:height, 0:width].astype(float)
    centers, ways = [], []
    for found, way, given, labels in zip(heat, offsets, numbers, mask, strict=True):
        instrument = (labels == 1) | (labels == 2)
        known = np.where(instrument, given, 0)
        true = np.zeros((height, width))
        errors: list[float] = []
        for number in set(np.unique(known).tolist()) - {0}:
            own = known == number
            cy, cx = y[own].mean(), x[own].mean()
            true = np.maximum(true, np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * sigma**2)))
            diagonal = np.hypot(height, width)
            away = np.abs(way[0] - (cy - y) / diagonal) + np.abs(way[1] - (cx - x) / diagonal)
            errors += away[own].tolist()
        counted = (labels != 255) & ((known > 0) | ~instrument)
        centers.append(float(((found - true) ** 2)[counted].mean()))
        ways.append(float(np.mean(errors)) if errors else 0.0)
    return centers, ways


def test_the_losses_are_those_of_the_formulas(make_method: Callable[..., Any]) -> None:
    method = make_method(
        "center-offset", w_ce=0.7, w_dice=1.3, w_center=50.0, w_offset=2.5, center_sigma=0.05,
        dropout=0.0, max_instances=3,
    )  # fmt: skip
    torch.manual_seed(0)
    method.build(SPEC).train()
    made: list[Any] = []
    plain = method.network.maps
    method.network.maps = lambda image: made.append(plain(image)) or made[-1]
    batch = labelled_images()
    numbers = torch.zeros(2, 64, 80, dtype=torch.uint8)
    numbers[0, 55:, 40:60], numbers[1, :20, :15], numbers[1, 10:40, 30:70] = 1, 1, 2
    terms = method.losses({"labelled": {**batch, "instances": numbers}}, LATE)
    maps = [part.detach().numpy() for part in made[0]]
    mask = batch["mask"].numpy()
    sigma = 0.05 * np.hypot(64, 80)
    center, offset = expected_losses(maps[1], maps[2], numbers.numpy(), mask, sigma)
    assert float(terms["center"].detach()) == pytest.approx(50 * np.mean(center), rel=1e-4)
    assert float(terms["offset"].detach()) == pytest.approx(2.5 * np.mean(offset), rel=1e-4)
    assert float(terms["ce"].detach()) == pytest.approx(
        0.7 * formulas.cross_entropy(maps[0], mask).mean(), rel=1e-4
    )
    assert float(terms["dice"].detach()) == pytest.approx(
        1.3 * formulas.dice(maps[0], mask).mean(), rel=1e-4
    )


def test_classes_that_are_no_instruments_are_background(
    make_method: Callable[..., Any], toy: DatasetPaths, make_run: Callable[..., Any]
) -> None:
    method = make_method("center-offset")
    table = ClassTable.from_names(["background", "a", "liver"], instruments=["a"])
    data = open_data(DatasetPaths(data=toy.data), DataConfig(), make_run(), method)
    method.streams(replace(data, labelled=replace(data.labelled, table=table)))
    assert method.notes == ["background here, as they are no instruments: liver"]
    method.build(replace(SPEC, classes=table)).eval()
    batch = {**labelled_images(), "instances": torch.zeros(2, 64, 80, dtype=torch.uint8)}
    with torch.no_grad():
        one = method.losses({"labelled": batch}, LATE)
        mask = torch.where(batch["mask"] == 2, 0, batch["mask"])
        other = method.losses({"labelled": {**batch, "mask": mask}}, LATE)
    assert {k: float(v) for k, v in one.items()} == {k: float(v) for k, v in other.items()}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"w_center": 0}, "without centres"),
        ({"w_offset": 0, "max_instances": 256}, "without offsets.*max_instances must be 1..255"),
        ({"center_sigma": 0, "min_score": 1}, "center_sigma.*min_score"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    make_method: Callable[..., Any], wrong: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        make_method("center-offset", **wrong)


def test_a_set_without_instance_maps_is_refused_and_nothing_is_written(
    toy: DatasetPaths, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("images", "masks", "splits", "classes.toml"):
        (bare / name).symlink_to(toy.data / name)
    settings = {**TINY, **TINY_RUN, "size": [64, 80]}
    out = tmp_path / "run"
    with pytest.raises(DataError, match="has no instance maps") as error:
        run_method(TrainRequest(method="center-offset", data=bare, out=out, settings=settings))
    assert "instances/NAME.png" in str(error.value.remedy)
    assert not out.exists()


def test_candidates_become_instances_by_falling_score() -> None:
    masks = torch.zeros(1, 4, 2, 4)
    masks[0, 0, 0], masks[0, 1, 1, :2], masks[0, 3, 1, 3] = 1, 1, 1
    found = {
        "scores": torch.tensor([[0.5, 0.9, 0.8, 0.1]]),
        "classes": torch.tensor([[0, 1, 0, 0]]),
        "masks": masks,
    }
    shown = painted(found, 0, min_score=0.3)  # the third has no pixel, the last too low a score
    assert shown.numbers.tolist() == [[2, 2, 2, 2], [1, 1, 0, 0]]
    assert shown.classes == (2, 1)
    assert shown.labels.tolist() == [[1, 1, 1, 1], [2, 2, 0, 0]]
    sample = Sample(
        name="f",
        image=np.zeros((2, 4, 3), np.uint8),
        mask=np.array([[1, 1, 1, 2], [2, 2, 0, 0]], np.uint8),
        instances=shown.numbers,
    )
    assert true_instances(sample).classes == (2, 1)
