"""The time of capture in the pictures of the soak."""

from __future__ import annotations

import numpy as np
import pytest
from benchmark_helpers import benchmark_helper

bar_code = benchmark_helper("live.bar_code")


@pytest.mark.parametrize("milliseconds", [0, 1, 33_428_397, 2**40 - 1])
@pytest.mark.parametrize("size", [(64, 256), (96, 128), (240, 320)])
def test_a_time_is_read_as_it_was_printed(milliseconds: int, size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 90, np.uint8)
    bar_code.stamp(image, milliseconds)
    assert bar_code.read_stamp(image) == milliseconds


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_a_picture_of_one_grey_is_no_time(grey: int) -> None:
    assert bar_code.read_stamp(np.full((64, 256, 3), grey, np.uint8)) is None


def test_squares_of_two_times_are_no_time() -> None:
    """What a decoder shows after a loss: some squares are as before it."""
    random = np.random.default_rng(0)
    before, after = np.zeros((2, 32, 128, 3), np.uint8)
    told = set()
    for moment in range(40_000_000, 40_050_000, 100):
        bar_code.stamp(before, moment)
        bar_code.stamp(after, moment + int(random.integers(20, 2000)))
        old = random.integers(0, 2, (4, 1, 16, 1, 1)).astype(bool)
        mixed = np.where(old, before.reshape(4, 8, 16, 8, 3), after.reshape(4, 8, 16, 8, 3))
        told.add(bar_code.read_stamp(mixed.reshape(32, 128, 3)))
    assert told == {None}
