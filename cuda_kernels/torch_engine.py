"""The fastest formulation in torch alone, for any device.

    TorchEngine().soft_counts(logits, None, SoftPlan(((0, 1),), from_logits=True, one_hot=False))

The map is padded on the right by the largest |dx| with zeros and flattened. A displacement is then
a constant step in memory, so the two pixels of all pairs are two strided views of one buffer and a
matrix product of these views sums over the pixels without a copy. Pairs that leave the image meet
the zeros. The gradient is added up in place through the same views.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trocar.cuda_kernels.engine import HardPlan, SoftPlan
from trocar.cuda_kernels.offsets import Offset
from trocar.cuda_kernels.reference import SMALLEST


class TorchEngine:
    """Plain torch operations; see the module for the formulation."""

    name = "torch"

    def hard_counts(self, labels: Tensor, plan: HardPlan) -> Tensor:
        """Count pairs by one ``bincount`` per offset over the whole batch."""
        batch, height, width = labels.shape
        side = plan.levels + 1  # the last level collects what is not to be counted
        level = labels.long()
        outside = (level < 0) | (level >= plan.levels)
        if plan.ignore_index is not None:
            outside |= level == plan.ignore_index
        level = level.masked_fill(outside, plan.levels)
        image = torch.arange(batch, device=labels.device)[:, None, None] * side * side
        result = torch.zeros(
            (batch, len(plan.offsets), plan.levels, plan.levels),
            dtype=torch.int64,
            device=labels.device,
        )
        for position, (dy, dx) in enumerate(plan.offsets):
            if abs(dy) >= height or abs(dx) >= width:
                continue
            top, left = max(0, -dy), max(0, -dx)
            rows, columns = height - abs(dy), width - abs(dx)
            here = level[:, top : top + rows, left : left + columns]
            there = level[:, top + dy : top + dy + rows, left + dx : left + dx + columns]
            bins = torch.bincount(
                (image + here * side + there).flatten(), minlength=batch * side * side
            )
            result[:, position] = bins.view(batch, side, side)[:, :-1, :-1]
        return result

    def soft_counts(
        self, x: Tensor, valid: Tensor | None, plan: SoftPlan
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Sum outer products by one batched matrix product per offset."""
        flat, pitch = _padded(x, valid, plan)
        batch, classes, _ = flat.shape
        counts = flat.new_zeros((batch, len(plan.offsets), classes, classes))
        for position, offset in enumerate(plan.offsets):
            views = _pair(flat, offset, x.shape, pitch)
            if views:
                torch.bmm(views[0], views[1].transpose(1, 2), out=counts[:, position])
        return counts, (flat,)

    def soft_gradient(
        self,
        x: Tensor,
        valid: Tensor | None,
        plan: SoftPlan,
        grad: Tensor,
        kept: tuple[Tensor, ...],
    ) -> Tensor:
        """Add both ends of every pair into one padded gradient, then undo softmax and padding."""
        (flat,) = kept
        pitch = _pitch(x.shape, plan.offsets)
        total = torch.zeros_like(flat)
        for position, offset in enumerate(plan.offsets):
            ends, sums = (
                _pair(flat, offset, x.shape, pitch),
                _pair(total, offset, x.shape, pitch),
            )
            if ends and sums:
                matrix = grad[:, position]
                sums[0].baddbmm_(matrix, ends[1])
                sums[1].baddbmm_(matrix.transpose(1, 2), ends[0])
        result = total.view(*x.shape[:3], pitch)[..., : x.shape[3]]
        if plan.from_logits:
            p = torch.softmax(x, 1, dtype=flat.dtype)
            result = p * (result - (p * result).sum(1, keepdim=True))
        if valid is not None:
            # Last, and not a product: what is not valid may be NaN, and so is its softmax.
            result = result.masked_fill(~valid[:, None], 0.0)
        return result.to(x.dtype).contiguous()

    def entropy(self, counts: Tensor, *, symmetric: bool) -> Tensor:
        """Average the entropies of the normalised matrices over the offsets."""
        p, _ = _normalised(counts, symmetric)
        return -(p * p.clamp_min(SMALLEST).log()).sum((2, 3)).mean(1)

    def entropy_gradient(self, counts: Tensor, grad: Tensor, *, symmetric: bool) -> Tensor:
        """Differentiate ``entropy`` by hand, zero where the sum of a matrix is zero."""
        p, total = _normalised(counts, symmetric)
        slope = -p.clamp_min(SMALLEST).log() - (p > SMALLEST).to(p.dtype)
        slope = slope - (p * slope).sum((2, 3), keepdim=True)
        factor = grad[:, None, None, None] / p.shape[1]
        factor = torch.where(total > 0, factor / total.clamp_min(1e-30), torch.zeros_like(total))
        result = slope * factor
        return result + result.transpose(2, 3) if symmetric else result


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """Float64 stays, everything else is summed in float32 (sums overflow float16)."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def _pitch(shape: torch.Size, offsets: tuple[Offset, ...]) -> int:
    """Width of the padded rows; offsets that reach beyond the image pad nothing."""
    return shape[3] + max((abs(dx) for _, dx in offsets if abs(dx) < shape[3]), default=0)


def _padded(x: Tensor, valid: Tensor | None, plan: SoftPlan) -> tuple[Tensor, int]:
    """What is to be paired, ``[B,C,H*pitch]``, zero in the padding and where not valid."""
    batch, classes, height, width = x.shape
    pitch = _pitch(x.shape, plan.offsets)
    padded = x.new_zeros((batch, classes, height, pitch), dtype=compute_dtype(x.dtype))
    inner = padded[..., :width]
    if plan.one_hot:
        inner.scatter_(1, x.argmax(1, keepdim=True), 1.0)
    elif plan.from_logits:
        inner.copy_(torch.softmax(x, 1, dtype=padded.dtype))
    else:
        inner.copy_(x)
    if valid is not None:
        # Not a product: what is not valid may be anything, NaN too.
        inner.masked_fill_(~valid[:, None], 0.0)
    return padded.view(batch, classes, height * pitch), pitch


def _pair(
    flat: Tensor, offset: Offset, shape: torch.Size, pitch: int
) -> tuple[Tensor, Tensor] | None:
    """Views of the two ends of all pairs, None where the offset reaches beyond the image."""
    dy, dx = offset
    if abs(dy) >= shape[2] or abs(dx) >= shape[3]:
        return None
    step = dy * pitch + dx
    length = flat.shape[2] - abs(step)
    return flat.narrow(2, max(0, -step), length), flat.narrow(2, max(0, step), length)


def _normalised(counts: Tensor, symmetric: bool) -> tuple[Tensor, Tensor]:
    g = counts if counts.is_floating_point() else counts.float()
    if symmetric:
        g = g + g.transpose(2, 3)
    total = g.sum((2, 3), keepdim=True)
    return g / torch.where(total > 0, total, torch.ones_like(total)), total
