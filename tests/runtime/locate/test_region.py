"""One region cut out: its runs, sums and components against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trocar.runtime.locate.region import Shape, components, runs_of


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    density=st.floats(0.05, 1.0),
)
def test_runs_and_sums_are_those_of_the_pixels(
    seed: int, height: int, width: int, density: float
) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < density
    mask[height // 2, width // 2] = True
    shape = Shape(mask, 3, 5, (2.0, 3.0))
    y, x = np.nonzero(mask)
    found = shape.runs.pixels()
    assert np.array_equal(found[0], y)
    assert np.array_equal(found[1], x)
    sums = shape.sums
    assert (sums.n, sums.x, sums.y) == (len(x), x.sum(), y.sum())
    assert (sums.xx, sums.xy, sums.yy) == ((x * x).sum(), (x * y).sum(), (y * y).sum())
    tight = shape.tight()
    assert np.array_equal(tight.mask, mask[y.min() : y.max() + 1, x.min() : x.max() + 1])
    assert (tight.top, tight.left) == (3 + y.min(), 5 + x.min())
    assert np.array_equal(tight.columns(), shape.columns()[x.min() : x.max() + 1])
    tight.mask[:] = False
    assert mask[height // 2, width // 2], "the copy is the mask itself"


def test_nothing_has_no_runs() -> None:
    assert len(runs_of(np.zeros((4, 5), np.bool_)).y) == 0


@pytest.mark.parametrize("size", [(31, 40), (512, 640)])
def test_as_many_components_as_a_map_can_hold_are_told_apart(size: tuple[int, int]) -> None:
    mask = np.zeros(size, np.bool_)
    mask[::2, ::2] = True
    count, numbers = components(mask)
    assert count == mask.sum() + 1
    assert len(np.unique(numbers[mask])) == mask.sum()
