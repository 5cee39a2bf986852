"""Percentile bootstrap of means, over groups (videos, patients) where they are known.

low, high = interval([0.7, 0.8, 0.9], groups=["op1", "op1", "op2"])
paired([0.7, 0.8], [0.75, 0.9]).verdict     # "B is better"

Frames of one video are not independent. Where groups are known, full groups are resampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import ArgumentError

DRAWS = 2000
"""Number of resamples."""


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """Difference of two models on the same frames.

    Attributes:
        mean: Mean of B − A.
        low: Lower end of its 95 % interval.
        high: Upper end.
        wins: Frames where B is better.
        losses: Frames where A is better.
        frames: Frames that both have a value for.
    """

    mean: float
    low: float
    high: float
    wins: int
    losses: int
    frames: int

    @property
    def verdict(self) -> str:
        """``B is better``, ``A is better`` or ``no difference shown``."""
        if self.low > 0:
            return "B is better"
        return "A is better" if self.high < 0 else "no difference shown"


def interval(
    values: Sequence[float], *, groups: Sequence[str] = (), seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """The bootstrap interval of a mean.

    Args:
        values: One a frame; NaN is left out.
        groups: Group of each frame; with at least two groups, full groups are resampled.
        seed: Of the random numbers.
        level: Coverage of the interval, 0..1.

    Returns:
        Lower and upper end; NaN where every value is NaN.
    """
    known, units = _units(values, groups)
    if not known.size:
        return float("nan"), float("nan")
    means = _draw(known, units, seed)
    tail = (1 - level) / 2 * 100
    low, high = np.percentile(means, (tail, 100 - tail))
    return float(low), float(high)


def paired(
    a: Sequence[float], b: Sequence[float], *, groups: Sequence[str] = (), seed: int = 0
) -> PairedDifference:
    """Compares two models frame by frame.

    Args:
        a: Scores of model A, one a frame.
        b: Scores of model B on the same frames.
        groups: Group of each frame.
        seed: Of the random numbers.

    Raises:
        ArgumentError: The two lists have different lengths.
    """
    if len(a) != len(b):
        raise ArgumentError(
            f"the models have scores of {len(a)} and {len(b)} frames; expected equal numbers",
            remedy="score both on the same frames",
        )
    difference = np.asarray(b, dtype=float) - np.asarray(a, dtype=float)
    low, high = interval(difference.tolist(), groups=groups, seed=seed)
    known = difference[~np.isnan(difference)]
    return PairedDifference(
        mean=float(known.mean()) if known.size else float("nan"),
        low=low,
        high=high,
        wins=int((known > 0).sum()),
        losses=int((known < 0).sum()),
        frames=int(known.size),
    )


def _units(
    values: Sequence[float], groups: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Values without NaN, and the number of the resampling unit of each."""
    array = np.asarray(values, dtype=float)
    named = np.asarray(groups if len(groups) == len(array) else [""] * len(array))
    known = ~np.isnan(array)
    array, named = array[known], named[known]
    distinct, units = np.unique(named, return_inverse=True)
    if len(distinct) < 2:
        units = np.arange(len(array))
    return array, units.astype(np.int64)


def _draw(values: NDArray[np.float64], units: NDArray[np.int64], seed: int) -> NDArray[np.float64]:
    """Means of `DRAWS` resamples of units."""
    count = int(units.max()) + 1
    sums = np.bincount(units, weights=values, minlength=count)
    sizes = np.bincount(units, minlength=count)
    drawn = np.random.default_rng(seed).integers(0, count, size=(DRAWS, count))
    means: NDArray[np.float64] = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    return means
