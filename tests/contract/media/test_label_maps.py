from __future__ import annotations

import numpy as np
import pytest

from trocar.contract.media.label_maps import (
    confusion_matrix,
    dice_per_class,
    enlarge,
    iou_per_class,
)
from trocar.contract.text.words import first_line


def test_counts_and_ratios_by_hand() -> None:
    truth = np.array([[0, 1, 1], [255, 2, 0]], np.uint8)
    other = np.array([[0, 1, 0], [1, 9, 1]], np.uint8)
    counts = confusion_matrix(truth, other, classes=4)
    assert counts.tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0] * 4, [0] * 4]
    iou, dice = iou_per_class(counts), dice_per_class(counts)
    assert iou[:2].tolist() == [1 / 3, 1 / 3]
    assert dice[:2].tolist() == [0.5, 0.5]
    assert np.isnan(iou[2:]).all()
    assert np.isnan(dice[2:]).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_enlarging_takes_the_nearest_centre_and_keeps_the_type(dtype: type) -> None:
    small = np.arange(6, dtype=dtype).reshape(2, 3)
    large = enlarge(small, (6, 9))
    assert large.dtype == dtype
    np.testing.assert_array_equal(large, np.repeat(np.repeat(small, 3, 0), 3, 1))
    assert enlarge(small, (2, 3)) is small


def test_the_first_line_is_the_first_that_says_something() -> None:
    assert first_line("\n  one \ntwo") == "one"
    assert first_line(ValueError()) == "ValueError"
    assert first_line("") == ""
    assert first_line("x" * 9, limit=4) == "xxxx"
