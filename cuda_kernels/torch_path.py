"""The path of torch tensors: check values, call the backend, finalise the counts.

counts = hard_counts(backend, labels, plan, check=None)  # [B,O,L,L]
"""

from __future__ import annotations

import torch
from torch import Tensor

from trocar.cuda_kernels import checks
from trocar.cuda_kernels.autograd import Entropy, SoftCounts, merge_classes
from trocar.cuda_kernels.backends import torch as torch_backend
from trocar.cuda_kernels.backends.base import Backend, HardPlan, SoftPlan


def hard_counts(backend: Backend, labels: Tensor, plan: HardPlan, *, check: bool | None) -> Tensor:
    """``[B,H,W]`` to plain counts ``[B,O,L,L]``, integers."""
    if check or (check is None and torch_backend.is_on_cpu(labels)):
        checks.check_label_values(labels, plan.levels, plan.ignore_index)
    return backend.hard_counts(labels, plan)


def soft_counts(
    backend: Backend, x: Tensor, valid: Tensor | None, plan: SoftPlan, *, check: bool | None
) -> Tensor:
    """``[B,C,H,W]`` to plain sums ``[B,O,C,C]``, with autograd."""
    counts: Tensor = SoftCounts.apply(backend, plan, x, valid)
    if check or (check is None and torch_backend.is_on_cpu(x)):
        # A NaN among the scores reaches sums of products, but not an arg-max.
        bad = x.detach().isnan().any(1) if plan.one_hot else counts.detach().isnan()
        if plan.one_hot and valid is not None:
            bad &= valid
        checks.check_finite(bool(bad.any()))
    return counts


def finalise(counts: Tensor, *, symmetric: bool, normalised: bool) -> Tensor:
    """Make plain counts symmetric and normalised as asked: ``[B,O,L,L]`` to ``[B,O,L,L]``."""
    if not counts.is_floating_point():
        counts = counts.long()
    if symmetric:
        counts = counts + counts.transpose(2, 3)
    if not normalised:
        return counts
    values = counts if counts.is_floating_point() else counts.double()
    total = values.sum((2, 3), keepdim=True)
    result = values / torch.where(total > 0, total, torch.ones_like(total))
    return result if counts.is_floating_point() else result.float()


def entropy(
    backend: Backend,
    counts: Tensor,
    *,
    symmetric: bool,
    normalised: bool,
    groups: tuple[int, ...] | None,
) -> Tensor:
    """Plain counts to ``[B]``, with autograd if they are normalised."""
    counts = merge_classes(counts, groups)
    if normalised:
        result: Tensor = Entropy.apply(backend, counts, symmetric)
        return result
    counts = finalise(counts, symmetric=symmetric, normalised=False).double()
    return -(counts * counts.clamp_min(1).log()).sum((2, 3)).mean(1).float()
