"""Latency histograms: percentiles within one percent, and values outside of their range."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trocar.runtime.telemetry.latency import Histogram


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.002, 5000), min_size=1, max_size=400))
def test_percentiles_are_exact_to_one_percent(values: list[float]) -> None:
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    ordered = sorted(values)
    for percent in (50, 95, 99, 99.9):
        exact = ordered[math.ceil(len(values) * percent / 100 - 1e-9) - 1]
        assert histogram.percentile(percent) == pytest.approx(exact, rel=0.01, abs=0.001)
    assert histogram.max_ms == max(values)
    assert histogram.count == len(values)


def test_histograms_clip_values_outside_of_their_range() -> None:
    histogram = Histogram()
    assert histogram.percentile(99) == 0
    for value in (-5.0, 0.0, 1e12):
        histogram.record(value)
    assert histogram.percentile(1) == 0
    assert histogram.percentile(100) == pytest.approx(3.6e6, rel=0.01)
