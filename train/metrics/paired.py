"""Paired differences of two methods over seeds, with an interval that says whether they differ.

    difference = over_seeds([0.62, 0.60, 0.65], [0.58, 0.59, 0.60]); difference.verdict

Runs of one seed share their split and draws, so that their difference varies less than their
scores. Source: Student, "The probable error of a mean", Biometrika 1908.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from trocar.contract.errors import ArgumentError

LEVEL = 0.95
"""Coverage of the interval."""


@dataclass(frozen=True, kw_only=True)
class SeedDifference:
    """Difference of a method to a baseline, paired by seed.

    Attributes:
        each: Of each seed, in order.
        mean: Their mean.
        low: Lower end of the 95 % interval of the mean; minus infinity for one seed.
        high: Upper end; infinity for one seed.
    """

    each: tuple[float, ...]
    mean: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """``better`` or ``worse`` where the interval excludes 0, else ``not decided``."""
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "not decided"


def over_seeds(scores: Sequence[float], baseline: Sequence[float]) -> SeedDifference:
    """The mean difference with its interval by Student's t over the seeds.

    Args:
        scores: Of the method, one a seed.
        baseline: Of the baseline with the same seeds, in the same order.

    Raises:
        ArgumentError: The numbers of seeds differ, or there is none.
    """
    from scipy.stats import t

    if len(scores) != len(baseline) or not scores:
        raise ArgumentError(
            f"there are scores of {len(scores)} and {len(baseline)} seeds, expected equal numbers "
            "of 1 or more",
            remedy="train both with the same seeds",
        )
    each = tuple(a - b for a, b in zip(scores, baseline, strict=True))
    count, middle = len(each), mean(each)
    if count == 1:
        return SeedDifference(each=each, mean=middle, low=-math.inf, high=math.inf)
    half = float(t.ppf((1 + LEVEL) / 2, count - 1)) * stdev(each) / math.sqrt(count)
    return SeedDifference(each=each, mean=middle, low=middle - half, high=middle + half)
