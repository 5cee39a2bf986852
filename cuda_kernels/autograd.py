"""Gradients of the counts and of the entropy for every engine alike.

    SoftCounts.apply(engine, plan, x, valid)  # [B,O,C,C]

Everything runs outside autocast: sums over a map overflow float16 and drown in bfloat16.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from trocar.cuda_kernels.backends.base import Engine, SoftPlan


class SoftCounts(torch.autograd.Function):
    """Probabilities or logits to plain co-occurrence sums."""

    @staticmethod
    def forward(
        ctx: Any, engine: Engine, plan: SoftPlan, x: Tensor, valid: Tensor | None
    ) -> Tensor:
        """``[B,C,H,W]`` to ``[B,O,C,C]``."""
        with torch.autocast(x.device.type, enabled=False):
            counts, kept = engine.soft_counts(x, valid, plan)
        ctx.engine, ctx.plan = engine, plan
        ctx.save_for_backward(x, valid, *kept)
        return counts

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None, Tensor, None]:
        """``[B,O,C,C]`` to ``[B,C,H,W]``."""
        x, valid, *kept = ctx.saved_tensors
        with torch.autocast(x.device.type, enabled=False):
            result = ctx.engine.soft_gradient(x, valid, ctx.plan, grad, tuple(kept))
        return None, None, result, None


class Entropy(torch.autograd.Function):
    """Plain counts to the mean entropy over the offsets."""

    @staticmethod
    def forward(ctx: Any, engine: Engine, counts: Tensor, symmetric: bool) -> Tensor:
        """``[B,O,L,L]`` to ``[B]``."""
        with torch.autocast(counts.device.type, enabled=False):
            result = engine.entropy(counts, symmetric=symmetric)
        ctx.engine, ctx.symmetric = engine, symmetric
        ctx.save_for_backward(counts)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None]:
        """``[B]`` to ``[B,O,L,L]``."""
        (counts,) = ctx.saved_tensors
        with torch.autocast(counts.device.type, enabled=False):
            result = ctx.engine.entropy_gradient(counts, grad, symmetric=ctx.symmetric)
        return None, result, None


def merged(counts: Tensor, groups: tuple[int, ...] | None) -> Tensor:
    """Add up the rows and columns that a grey map sends to one level."""
    if groups is None:
        return counts
    if not counts.is_floating_point():
        # Matrix products of integers exist on the CPU alone; float64 is exact to 2**53.
        return merged(counts.double(), groups).round().to(counts.dtype)
    with torch.autocast(counts.device.type, enabled=False):
        index = torch.tensor(groups, device=counts.device)
        chosen = torch.arange(max(groups) + 1, device=counts.device)
        matrix = (chosen[:, None] == index).to(counts.dtype)
        return matrix @ counts @ matrix.T
