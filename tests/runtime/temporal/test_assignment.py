"""The compiled assignment alone equals SciPy's public one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment as public

from trocar.runtime.temporal import assignment


def test_the_compiled_module_alone_gives_the_pairs_of_scipy() -> None:
    solver = assignment.compiled_solver()
    assert solver is not None
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (3, 5), (5, 3), (40, 40)):
        # Few values: ties are broken alike.
        costs = rng.integers(0, 4, shape).astype(np.float64)
        for found, expected in zip(solver(costs), public(costs), strict=True):
            np.testing.assert_array_equal(found, expected)


def test_scipy_itself_is_taken_where_the_module_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assignment, "_MODULE", "_absent")
    assert assignment.compiled_solver() is None
    assignment._solver.cache_clear()
    try:
        assert assignment._solver() is public
    finally:
        assignment._solver.cache_clear()
