"""The time of capture in the pictures of the soak."""

from __future__ import annotations

import numpy as np
import pytest
from benchmark_helpers import benchmark_helper

bar_code = benchmark_helper("live.bar_code")


@pytest.mark.parametrize("milliseconds", [0, 1, 33_428_397, 2**40 - 1])
def test_a_time_is_read_as_it_was_printed(milliseconds: int) -> None:
    image = np.full((48, 256, 3), 90, np.uint8)
    bar_code.stamp(image, milliseconds)
    assert bar_code.read_stamp(image) == milliseconds


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_a_picture_of_one_grey_is_no_time(grey: int) -> None:
    assert bar_code.read_stamp(np.full((48, 256, 3), grey, np.uint8)) is None
