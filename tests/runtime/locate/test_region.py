"""One region cut out: its runs, moments and components against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trocar.runtime.locate.region import Region, connected_components, run_lengths_of


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
    region = Region(mask, 3, 5, (2.0, 3.0))
    y, x = np.nonzero(mask)
    found = region.run_lengths.coordinates()
    assert np.array_equal(found[0], y)
    assert np.array_equal(found[1], x)
    moments = region.moments
    assert (moments.n, moments.x, moments.y) == (len(x), x.sum(), y.sum())
    assert (moments.xx, moments.xy, moments.yy) == ((x * x).sum(), (x * y).sum(), (y * y).sum())
    cropped = region.crop_to_bbox()
    assert np.array_equal(cropped.mask, mask[y.min() : y.max() + 1, x.min() : x.max() + 1])
    assert (cropped.top, cropped.left) == (3 + y.min(), 5 + x.min())
    assert np.array_equal(cropped.column_centres(), region.column_centres()[x.min() : x.max() + 1])
    cropped.mask[:] = False
    assert mask[height // 2, width // 2], "the copy is the mask itself"


def test_nothing_has_no_runs() -> None:
    assert len(run_lengths_of(np.zeros((4, 5), np.bool_)).y) == 0


@pytest.mark.parametrize("size", [(31, 40), (512, 640)])
def test_as_many_components_as_a_map_can_hold_are_told_apart(size: tuple[int, int]) -> None:
    mask = np.zeros(size, np.bool_)
    mask[::2, ::2] = True
    count, numbers = connected_components(mask)
    assert count == mask.sum() + 1
    assert len(np.unique(numbers[mask])) == mask.sum()
