"""SciPy's linear sum assignment, without the import of all of ``scipy.optimize``.

    rows, columns = linear_sum_assignment(costs)

That import takes 0.6 s of processor time, half of what a run took until its first result. The
function is one compiled module that needs NumPy alone; where it cannot be loaded by itself, SciPy
is imported in the usual way.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

Solver = Callable[[NDArray[np.float64]], tuple[NDArray[Any], NDArray[Any]]]

_MODULE = "_lsap"


def linear_sum_assignment(costs: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Rows and columns of the pairs of the smallest total cost.

    Args:
        costs: ``[N, M]``, all finite.
    """
    return _solver()(costs)


@functools.cache
def _solver() -> Solver:
    return compiled_solver() or _solver_of_scipy()


def compiled_solver() -> Solver | None:
    """The function of the compiled module alone; ``None`` where this SciPy has no such module."""
    try:
        scipy = importlib.util.find_spec("scipy")
        if scipy is None or scipy.origin is None:
            return None
        folder = Path(scipy.origin).parent / "optimize"
        names = (f"{_MODULE}{suffix}" for suffix in EXTENSION_SUFFIXES)
        file = next(folder / name for name in names if (folder / name).is_file())
        spec = importlib.util.spec_from_file_location(f"scipy.optimize.{_MODULE}", file)
        if spec is None or spec.loader is None:
            return None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        solver = cast(Solver, module.linear_sum_assignment)
        rows, columns = solver(np.array([[2.0, 1.0], [1.0, 2.0]]))
    except Exception:
        # The module is not part of SciPy's interface: another release may lack or change it.
        return None
    return solver if (rows.tolist(), columns.tolist()) == ([0, 1], [1, 0]) else None


def _solver_of_scipy() -> Solver:
    from scipy.optimize import linear_sum_assignment as public

    return cast(Solver, public)
