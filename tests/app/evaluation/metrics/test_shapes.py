"""NSD, region matching and average precision: by hand, by brute force, against torchmetrics."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchmetrics.functional.classification import binary_average_precision

from trocar.evaluation.metrics.presence import average_precision
from trocar.evaluation.metrics.shapes import RegionCounts, match_regions, surface_dice

Mask = NDArray[np.bool_]


def square(top: int, left: int, side: int = 6, size: int = 24) -> Mask:
    mask = np.zeros((size, size), bool)
    mask[top : top + side, left : left + side] = True
    return mask


def outline_by_loops(mask: Mask) -> list[tuple[int, int]]:
    padded = np.pad(mask, 1)
    return [
        (y, x)
        for y, x in zip(*np.nonzero(mask), strict=True)
        if not (
            padded[y, x + 1] and padded[y + 2, x + 1] and padded[y + 1, x] and padded[y + 1, x + 2]
        )
    ]


def nsd_by_loops(truth: Mask, predicted: Mask, tolerance: float) -> float:
    a, b = outline_by_loops(truth), outline_by_loops(predicted)
    if not a and not b:
        return math.nan
    if not a or not b:
        return 0.0
    near = sum(min(math.dist(p, q) for q in b) <= tolerance for p in a)
    near += sum(min(math.dist(p, q) for q in a) <= tolerance for p in b)
    return near / (len(a) + len(b))


def test_nsd_by_hand() -> None:
    one = square(5, 5)
    assert surface_dice(one, one, tolerance=0) == 1
    # Moved by two: nothing but the 8 pixels where outlines cross is within a distance of 1.
    assert surface_dice(one, square(5, 7), tolerance=2) == 1
    assert surface_dice(one, square(5, 15), tolerance=2) == 0
    empty = np.zeros_like(one)
    assert surface_dice(one, empty, tolerance=99) == 0
    assert surface_dice(empty, one, tolerance=99) == 0
    assert math.isnan(surface_dice(empty, empty, tolerance=1))


@pytest.mark.parametrize("tolerance", [0.0, 1.0, 1.5, 3.0])
def test_nsd_equals_brute_force(rng, tolerance: float) -> None:
    for _ in range(12):
        truth = rng.random((14, 17)) < rng.choice([0.02, 0.3, 0.8])
        predicted = rng.random((14, 17)) < rng.choice([0.02, 0.3, 0.8])
        expected = nsd_by_loops(truth, predicted, tolerance)
        got = surface_dice(truth, predicted, tolerance=tolerance)
        assert got == pytest.approx(expected, nan_ok=True)


def regions_by_loops(mask: Mask) -> list[set[tuple[int, int]]]:
    left = set(zip(*(v.tolist() for v in np.nonzero(mask)), strict=True))
    found = []
    while left:
        todo, region = [left.pop()], set()
        while todo:
            y, x = todo.pop()
            region.add((y, x))
            for step in itertools.product((-1, 0, 1), repeat=2):
                near = (y + step[0], x + step[1])
                if near in left:
                    left.remove(near)
                    todo.append(near)
        found.append(region)
    return found


def test_regions_equal_brute_force(rng) -> None:
    for _ in range(40):
        truth = np.zeros((18, 18), bool)
        predicted = truth.copy()
        for _ in range(3):
            y, x, side = (int(v) for v in rng.integers(0, 14, 3))
            truth[y : y + side % 5 + 1, x : x + 3] = True
            dy, dx = rng.integers(-1, 2, 2)
            if rng.random() < 0.8:
                y, x = max(y + int(dy), 0), max(x + int(dx), 0)
                predicted[y : y + side % 5 + 1, x : x + 3] = True
        a, b = regions_by_loops(truth), regions_by_loops(predicted)
        iou = [len(p & q) / len(p | q) for p in a for q in b if len(p & q) / len(p | q) > 0.5]
        got = match_regions(truth, predicted)
        assert (got.matched, got.missed, got.false) == (
            len(iou), len(a) - len(iou), len(b) - len(iou),
        )  # fmt: skip
        assert got.iou == pytest.approx(sum(iou))
        small, large = sorted((a, b), key=len)
        best = max(
            sum(2 * len(p & q) / (len(p) + len(q)) for p, q in zip(small, order, strict=False))
            for order in itertools.permutations(large, len(small))
        )
        assert got.dice == pytest.approx(best)
        assert got.pairs == len(large)


def test_regions_by_hand() -> None:
    truth = square(2, 2) | square(14, 14)
    predicted = square(2, 3) | square(2, 14)
    got = match_regions(truth, predicted)
    assert (got.precision, got.recall, got.f1) == (0.5, 0.5, 0.5)
    assert got.iou == pytest.approx(30 / 42)
    assert got.panoptic_quality == pytest.approx(30 / 42 / 2)
    assert got.region_dice == pytest.approx(60 / 72 / 2)
    twice = got + got
    assert twice.matched == 2
    assert twice.panoptic_quality == pytest.approx(got.panoptic_quality)
    nothing = RegionCounts()
    assert all(
        math.isnan(v)
        for v in (nothing.precision, nothing.recall, nothing.f1, nothing.panoptic_quality)
    )
    # Exactly half is no match; corners connect.
    half = match_regions(square(2, 2, 4), square(2, 2, 4) & (np.indices((24, 24))[1] < 4))
    assert half.matched == 0
    assert match_regions(np.eye(5, dtype=bool), np.eye(5, dtype=bool)).matched == 1


def test_instances_equal_brute_force(rng) -> None:
    for _ in range(40):
        truth = rng.random((12, 12)) < 0.5
        predicted = rng.random((12, 12)) < 0.3
        numbers = rng.choice([0, 3, 4, 200], (12, 12)).astype(np.uint8)
        numbers[:, :4] = 3
        predicted[:, :4] |= truth[:, :4]
        a = [truth & (numbers == n) for n in (3, 4, 200)]
        a = [mask for mask in a if mask.any()]
        b = [np.zeros_like(truth) for _ in regions_by_loops(predicted)]
        for mask, region in zip(b, regions_by_loops(predicted), strict=True):
            mask[tuple(zip(*region, strict=True))] = True
        iou = [(p & q).sum() / (p | q).sum() for p in a for q in b]
        matches = [value for value in iou if value > 0.5]
        got = match_regions(truth, predicted, instances=numbers)
        assert (got.matched, got.missed, got.false) == (
            len(matches), len(a) - len(matches), len(b) - len(matches),
        )  # fmt: skip
        assert got.iou == pytest.approx(sum(matches))
        assert got.pairs == max(len(a), len(b))


def test_an_instance_in_two_pieces_is_one() -> None:
    truth = square(2, 2) | square(2, 12)
    numbers = np.where(truth, 9, 0).astype(np.uint8)
    apart = match_regions(truth, truth)
    assert (apart.matched, apart.missed, apart.false) == (2, 0, 0)
    joined = match_regions(truth, truth, instances=numbers)
    assert (joined.matched, joined.missed, joined.false) == (0, 1, 2)  # each covers just half
    nothing = np.zeros_like(truth)
    assert match_regions(nothing, truth, instances=numbers).false == 2
    assert match_regions(truth, nothing, instances=numbers).missed == 1


def test_average_precision_equals_torchmetrics(rng) -> None:
    for _ in range(50):
        count = int(rng.integers(1, 30))
        truth = rng.random(count) < 0.4
        scores = rng.integers(0, 6, count) / 5  # many are equal
        if truth.any():
            expected = binary_average_precision(
                torch.from_numpy(scores), torch.from_numpy(truth.astype(np.int64))
            )
            got = average_precision(truth, scores)
            assert got == pytest.approx(float(expected), abs=1e-6)
    assert math.isnan(average_precision(np.zeros(3, bool), np.ones(3)))
    assert average_precision(np.array([True, False]), np.array([0.9, 0.2])) == 1
