"""Scores against MONAI's, where it is installed, on moved and missed ellipses."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage.measure import label

from trocar.contract.classes import ClassTable
from trocar.evaluation.metrics.shapes import match_regions, surface_dice
from trocar.train.metrics.segmentation import SegmentationScores

monai = pytest.importorskip("monai.metrics", reason="MONAI is not installed")
pytestmark = [  # MONAI warns of its own ageing, and of empty masks
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:the ground truth:UserWarning"),
    pytest.mark.filterwarnings("ignore:the prediction:UserWarning"),
]
TABLE = ClassTable.from_names(["background", "a", "b", "c"])
Labels = NDArray[np.uint8]
Frame = tuple[Labels, Labels, Labels]


def painted(rng: np.random.Generator, height: int, width: int) -> tuple[Labels, Labels]:
    """Class ids of five ellipses, and their numbers."""
    ids, numbers = np.zeros((2, height, width), np.uint8)
    for number in range(1, 6):
        ellipse = np.zeros((height, width), np.uint8)
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        axes = (int(rng.integers(3, width // 4)), int(rng.integers(3, height // 4)))
        cv2.ellipse(ellipse, centre, axes, float(rng.integers(180)), 0, 360, 1, -1)
        ids[ellipse > 0], numbers[ellipse > 0] = rng.integers(1, 4), number
    return ids, numbers


@pytest.fixture
def frames(rng: np.random.Generator) -> list[Frame]:
    """Truth, prediction and the truth's instances."""
    made = []
    for index in range(30):
        height, width = (int(side) for side in rng.integers(60, 160, 2))
        truth, numbers = painted(rng, height, width)
        shift = np.array([[1, 0, rng.integers(-4, 5)], [0, 1, rng.integers(-4, 5)]], np.float32)
        guess = np.asarray(
            cv2.warpAffine(truth, shift, (width, height), flags=cv2.INTER_NEAREST), np.uint8
        )
        made.append((truth, guess if index % 8 else painted(rng, height, width)[0], numbers))
    return made


def one_hot(labels: Labels) -> torch.Tensor:
    return torch.from_numpy(np.stack([labels == c for c in range(4)])[None].astype(np.float32))


@pytest.mark.parametrize("tolerance", [1.0, 2.0, 3.5])
def test_surface_dice(frames: list[Frame], tolerance: float) -> None:
    for truth, guess, _ in frames:
        expected = monai.compute_surface_dice(
            one_hot(guess), one_hot(truth), class_thresholds=[tolerance] * 3
        )[0].tolist()
        for class_id in (1, 2, 3):
            if (truth == class_id).any() or (guess == class_id).any():
                got = surface_dice(truth == class_id, guess == class_id, tolerance=tolerance)
                assert got == pytest.approx(expected[class_id - 1], abs=1e-6)


@pytest.mark.parametrize("by_instance", [False, True])
def test_panoptic_quality(frames: list[Frame], by_instance: bool) -> None:
    compared = 0
    for truth, guess, numbers in frames:
        for class_id in (1, 2, 3):
            mine, found = truth == class_id, guess == class_id
            if not mine.any() or not found.any():
                continue
            regions = np.where(mine, numbers, 0) if by_instance else label(mine, connectivity=2)
            dense = np.unique(regions, return_inverse=True)[1].reshape(mine.shape)
            got = match_regions(mine, found, instances=numbers if by_instance else None)
            maps = [
                torch.from_numpy(one.astype(np.int64))
                for one in (label(found, connectivity=2), dense)
            ]
            for name, value in (("pq", got.panoptic_quality), ("rq", got.f1)):
                expected = monai.compute_panoptic_quality(
                    *maps, metric_name=name, match_iou_threshold=0.5, smooth_numerator=1e-12
                )
                assert value == pytest.approx(float(expected), abs=1e-6)
                compared += 1
    assert compared > 50


def test_challenge_protocols(frames: list[Frame]) -> None:
    scores = SegmentationScores(TABLE)
    challenge, isi = [], []
    for truth, guess, _ in frames:
        scores.add(truth, guess)
        iou = monai.compute_iou(
            one_hot(guess), one_hot(truth), include_background=False, ignore_empty=False
        )[0].numpy()
        there = np.array([(truth == c).any() for c in (1, 2, 3)])
        either = there | np.array([(guess == c).any() for c in (1, 2, 3)])
        challenge.append(iou[there].mean())
        isi.append(iou[either].mean())
    result = scores.result()
    assert result["challenge_iou"] == pytest.approx(np.mean(challenge), abs=1e-6)
    assert result["isi_iou"] == pytest.approx(np.mean(isi), abs=1e-6)
