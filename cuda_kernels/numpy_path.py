"""The path of NumPy arrays: check values, call the reference, finalise; torch is not imported.

counts = hard_counts(labels, HardPlan(((0, 1),), levels=8), check=None)  # [B,O,8,8]
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from trocar.cuda_kernels import checks, reference
from trocar.cuda_kernels.backends.base import HardPlan, SoftPlan

Array = npt.NDArray[Any]


def hard_counts(labels: Array, plan: HardPlan, *, check: bool | None) -> Array:
    """``[B,H,W]`` to plain counts ``[B,O,L,L]`` int64."""
    if check is not False:
        checks.check_label_values(labels, plan.levels, plan.ignore_index)
    level = labels.astype(np.int64)
    if plan.ignore_index is not None:
        level = np.where(level == plan.ignore_index, -1, level)
    return reference.counts(level, levels=plan.levels, offsets=plan.offsets)


def soft_counts(x: Array, valid: Array | None, plan: SoftPlan, *, check: bool | None) -> Array:
    """``[B,C,H,W]`` to plain sums ``[B,O,C,C]`` float64."""
    if check is not False:
        bad = np.isnan(x).any(1)
        if plan.from_logits and not plan.one_hot:
            bad |= ~np.isfinite(x.max(1))
        checks.check_finite(bool((bad if valid is None else bad & valid).any()))
    if plan.one_hot:
        x = reference.one_hot(x)
    elif plan.from_logits:
        x = reference.softmax(x)
    return reference.soft_counts(x, valid, plan.offsets)


def finalise(counts: Array, *, symmetric: bool, normalised: bool) -> Array:
    """Make plain counts symmetric and normalised as asked: ``[B,O,L,L]`` to ``[B,O,L,L]``."""
    if symmetric:
        counts = counts + counts.swapaxes(2, 3)
    if not normalised:
        return counts
    total = counts.sum((2, 3), keepdims=True, dtype=np.float64)
    return np.asarray(counts / np.where(total > 0, total, 1.0))


def entropy(
    counts: Array, *, symmetric: bool, normalised: bool, groups: tuple[int, ...] | None
) -> Array:
    """Plain counts to ``[B]``."""
    if groups is not None:
        matrix = (np.arange(max(groups) + 1)[:, None] == np.array(groups)).astype(counts.dtype)
        counts = matrix @ counts @ matrix.T
    if normalised:
        return reference.entropy(counts, symmetric=symmetric)
    counts = finalise(counts, symmetric=symmetric, normalised=False)
    return np.asarray(-(counts * np.log(np.maximum(counts, 1))).sum((2, 3)).mean(1))
