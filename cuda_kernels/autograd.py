"""Autograd functions of the counts and the entropy, the same for every backend.

    SoftCounts.apply(backend, plan, x, valid)  # [B,O,C,C]

Autocast is disabled inside: sums over a map overflow float16 and lose small terms in bfloat16.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from trocar.cuda_kernels.backends.base import Backend, SoftPlan


class SoftCounts(torch.autograd.Function):
    """Probabilities or logits to plain co-occurrence sums."""

    @staticmethod
    def forward(
        ctx: Any, backend: Backend, plan: SoftPlan, x: Tensor, valid: Tensor | None
    ) -> Tensor:
        """``[B,C,H,W]`` to ``[B,O,C,C]``."""
        with torch.autocast(x.device.type, enabled=False):
            counts, saved = backend.soft_counts(x, valid, plan)
        ctx.backend, ctx.plan = backend, plan
        ctx.save_for_backward(x, valid, *saved)
        return counts

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None, Tensor, None]:
        """``[B,O,C,C]`` to ``[B,C,H,W]``."""
        x, valid, *saved = ctx.saved_tensors
        with torch.autocast(x.device.type, enabled=False):
            result = ctx.backend.soft_gradient(x, valid, ctx.plan, grad, tuple(saved))
        return None, None, result, None


class Entropy(torch.autograd.Function):
    """Plain counts to the mean entropy over the offsets."""

    @staticmethod
    def forward(ctx: Any, backend: Backend, counts: Tensor, symmetric: bool) -> Tensor:
        """``[B,O,L,L]`` to ``[B]``."""
        with torch.autocast(counts.device.type, enabled=False):
            result = backend.entropy(counts, symmetric=symmetric)
        ctx.backend, ctx.symmetric = backend, symmetric
        ctx.save_for_backward(counts)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None]:
        """``[B]`` to ``[B,O,L,L]``."""
        (counts,) = ctx.saved_tensors
        with torch.autocast(counts.device.type, enabled=False):
            result = ctx.backend.entropy_gradient(counts, grad, symmetric=ctx.symmetric)
        return None, result, None


def merge_classes(counts: Tensor, groups: tuple[int, ...] | None) -> Tensor:
    """Sum the rows and columns of the classes of one group: ``[B,O,L,L]`` to ``[B,O,G,G]``."""
    if groups is None:
        return counts
    if not counts.is_floating_point():
        # torch multiplies integer matrices on the CPU only; float64 is exact up to 2**53.
        return merge_classes(counts.double(), groups).round().to(counts.dtype)
    with torch.autocast(counts.device.type, enabled=False):
        matrix = _group_matrix(groups, counts.dtype, counts.device)
        return matrix @ counts @ matrix.T


@lru_cache(maxsize=64)
def _group_matrix(groups: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """``[G,L]``, 1 where a class is of a group; copied to the device once."""
    index = torch.tensor(groups, device=device)
    group = torch.arange(max(groups) + 1, device=device)
    return (group[:, None] == index).to(dtype)
