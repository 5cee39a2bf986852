"""Which evaluation is the best, and when a run stops early.

gain(scores, best, "iou_mean")          # whether scores beat those of the best evaluation
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from trocar.contract.config import unknown
from trocar.contract.errors import ConfigError

LOWER_IS_BETTER = frozenset({"false_alarm_rate", "false_alarm_area", "ece"})
"""Scores of which the lowest is the best."""

Scores = Mapping[str, float | None]


def goodness(scores: Scores, name: str) -> float:
    """The score of that name, larger is better; minus infinity where there is none or NaN."""
    value = scores.get(name)
    if value is None or math.isnan(value):
        return -math.inf
    return -value if name in LOWER_IS_BETTER else value


def gain(scores: Scores, best: Scores | None, name: str) -> bool:
    """Whether the scores are better than those of the best evaluation so far."""
    return best is None or goodness(scores, name) > goodness(best, name)


def check_score(scores: Scores, name: str) -> None:
    """Refuses to choose by a score that the method does not compute.

    Raises:
        ConfigError: There is no such score; names the nearest.
    """
    if name not in scores:
        raise ConfigError(
            f"best_by: score {unknown(name, scores)}",
            remedy=f"choose one of {', '.join(sorted(scores))}",
        )
