"""Limits of the parity gate, and the boundary F-score that one of them is for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from trocar.contract.errors import (
    ConfigError,
)
from trocar.export.parity import label_metrics
from trocar.export.parity.limits import Limits


def test_limits_are_checked_all_at_once() -> None:
    with pytest.raises(ConfigError, match=r"min_pixel_agreement is 2.*min_multiclass_frames is 0"):
        Limits(min_pixel_agreement=2.0, min_multiclass_frames=0)
    with pytest.raises(ConfigError, match="did you mean"):
        Limits().with_flags({"min_pixel_agrement": 0.9})
    changed = Limits.of("int8").with_flags({"min_pixel_agreement": "0.5", "max_mismatch": None})
    assert changed == replace(Limits.of("int8"), min_pixel_agreement=0.5)


def test_boundary_f_of_a_shift() -> None:
    first, second = np.zeros((2, 60, 60), np.uint8)
    first[20:40, 20:40] = 1
    second[20:40, 22:42] = 1
    near = label_metrics.boundary_f(
        label_metrics.boundary_counts(first, second, classes=2, tolerance=2)
    )
    assert near[1] == 1.0
    strict = label_metrics.boundary_f(
        label_metrics.boundary_counts(first, second, classes=2, tolerance=0)
    )
    assert 0.3 < strict[1] < 0.6


@pytest.mark.parametrize("tolerance", [1, 3])
def test_a_boundary_is_near_by_euclidean_distance(tolerance: int) -> None:
    first, second = np.random.default_rng(5).integers(0, 40, (2, 60, 60)) == 0
    (_, row) = label_metrics.boundary_counts(
        first.astype(np.uint8), second.astype(np.uint8), classes=2, tolerance=tolerance
    )
    # Single pixels are their own boundary.
    ours, theirs = np.argwhere(first), np.argwhere(second)
    apart = np.linalg.norm(ours[:, None] - theirs[None], axis=-1)
    near = [(apart.min(axis=side) <= tolerance).sum() for side in (1, 0)]
    assert row.tolist() == [near[0], len(ours), near[1], len(theirs)]
