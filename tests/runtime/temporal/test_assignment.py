"""The compiled assignment alone equals SciPy's public one; a run imports no `scipy.optimize`."""

from __future__ import annotations

import subprocess
import sys

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


def test_a_run_imports_no_heavy_package_that_it_does_not_need() -> None:
    heavy = ("scipy.optimize", "scipy.linalg", "numpy.f2py", "torch", "onnx", "matplotlib", "ray")
    code = (
        "import sys, numpy as np; import trocar.commands.run, trocar.commands._file\n"
        "from trocar.runtime.temporal.matching import assign\n"
        "assert len(assign(np.array([[0.1, 0.2], [0.1, 0.3]]))) == 2\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
