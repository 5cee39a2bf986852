"""The counts and the entropy in torch operations only, for any device.

    TorchBackend().soft_counts(logits, None, SoftPlan(((0, 1),), from_logits=True, one_hot=False))

The map is padded on the right with zeros by the largest |dx| and flattened. An offset is then a
constant distance in memory, so the two pixels of all pairs are two strided views of one buffer. A
matrix product of these views sums over the pixels without a copy. For pairs that leave the image,
the second pixel is one of the zeros. The gradient is summed in place through the same views.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trocar.cuda_kernels.backends.base import HardPlan, SoftPlan
from trocar.cuda_kernels.backends.cpu_histogram import joint_counts
from trocar.cuda_kernels.offsets import Offset
from trocar.cuda_kernels.reference import MIN_PROBABILITY


class TorchBackend:
    """Torch operations; the module docstring explains the method."""

    name = "torch"

    def hard_counts(self, labels: Tensor, plan: HardPlan) -> Tensor:
        """Count by joint histograms on the CPU, by one sum of ones per offset elsewhere."""
        if is_on_cpu(labels):
            return joint_counts(labels, plan)
        return _scattered_counts(labels, plan)

    def soft_counts(
        self, x: Tensor, valid: Tensor | None, plan: SoftPlan
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Sum outer products by one batched matrix product per offset."""
        batch, classes, height, _ = x.shape
        real, pitch = compute_dtype(x.dtype), _pitch(x.shape, plan.offsets)
        if plan.one_hot and is_on_cpu(x):
            labels = torch.empty((batch, *x.shape[2:]), dtype=torch.uint8)
            for image in range(batch):
                _arg_max(x[image], None if valid is None else valid[image], labels[image])
            return joint_counts(labels, HardPlan(plan.offsets, classes)).to(real), (labels,)
        flat = x.new_empty((batch, classes, height * pitch), dtype=real)
        counts = flat.new_zeros((batch, len(plan.offsets), classes, classes))
        for part in _parts(x):
            _fill(flat[part], x[part], None if valid is None else valid[part], plan, pitch)
            for position, offset in enumerate(plan.offsets):
                views = _pair(flat[part], offset, x.shape, pitch)
                if views:
                    products = counts[part][:, position]
                    torch.baddbmm(
                        products, views[0], views[1].transpose(1, 2), beta=0, out=products
                    )
        return counts, (flat,)

    def soft_gradient(
        self,
        x: Tensor,
        valid: Tensor | None,
        plan: SoftPlan,
        grad: Tensor,
        saved: tuple[Tensor, ...],
    ) -> Tensor:
        """Add both ends of every pair into one padded gradient, then undo softmax and padding."""
        (stored,) = saved
        pitch = _pitch(x.shape, plan.offsets)
        result = torch.empty_like(x, memory_format=torch.contiguous_format)
        for part in _parts(x):
            # Stored labels become a one-hot map again, one image at a time.
            is_labels = stored.dtype == torch.uint8
            flat = _one_hot(stored[part], x.shape, pitch, grad) if is_labels else stored[part]
            total = torch.zeros_like(flat)
            for position, offset in enumerate(plan.offsets):
                ends = _pair(flat, offset, x.shape, pitch)
                sums = _pair(total, offset, x.shape, pitch)
                if ends and sums:
                    matrix = grad[part][:, position]
                    sums[0].baddbmm_(matrix, ends[1])
                    sums[1].baddbmm_(matrix.transpose(1, 2), ends[0])
            inner = total.view(-1, *x.shape[1:3], pitch)[..., : x.shape[3]]
            if plan.from_logits:
                p = flat.view(-1, *x.shape[1:3], pitch)[..., : x.shape[3]]
                if plan.one_hot:
                    p = torch.softmax(x[part], 1, dtype=flat.dtype)
                inner = inner * p
                inner = inner.addcmul_(p, inner.sum(1, keepdim=True), value=-1)
            result[part] = inner
            if valid is not None:
                # Filled, not multiplied, and last: a pixel that is not valid may be NaN.
                result[part].masked_fill_(~valid[part, None], 0.0)
        return result

    def entropy(self, counts: Tensor, *, symmetric: bool) -> Tensor:
        """Average the entropies of the normalised matrices over the offsets."""
        if is_on_cpu(counts) and counts.shape[2] > 64:
            # One matrix at a time in the same memory, so that it stays in the cache.
            real = compute_dtype(counts.dtype)
            entropies = counts.new_empty(counts.shape[:2], dtype=real)
            g, p = counts.new_empty((2, *counts.shape[2:]), dtype=real)
            for matrix, target in zip(counts.flatten(0, 1), entropies.view(-1), strict=True):
                g.copy_(matrix)
                torch.add(g, g.T, out=p) if symmetric else p.copy_(g)
                total = p.sum()
                p.div_(torch.where(total > 0, total, 1.0))
                torch.clamp_min(p, MIN_PROBABILITY, out=g).log_()
                target.copy_(-torch.dot(p.view(-1), g.view(-1)))
            return entropies.mean(1)
        return _entropies(counts, symmetric).mean(1)

    def entropy_gradient(self, counts: Tensor, grad: Tensor, *, symmetric: bool) -> Tensor:
        """Analytic gradient of ``entropy``; zero where the sum of a matrix is zero."""
        p, total = _normalised(counts, symmetric)
        slope = -p.clamp_min(MIN_PROBABILITY).log() - (p > MIN_PROBABILITY).to(p.dtype)
        slope = slope - (p * slope).sum((2, 3), keepdim=True)
        factor = grad[:, None, None, None] / p.shape[1]
        factor = torch.where(total > 0, factor / total.clamp_min(1e-30), torch.zeros_like(total))
        result = slope * factor
        return result + result.transpose(2, 3) if symmetric else result


def is_on_cpu(values: Tensor) -> bool:
    """Whether the way for CPUs is taken; a test asks for the other one on a CPU."""
    return values.device.type == "cpu"


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """Dtype of the sums: float64 for float64, else float32, because sums overflow float16."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def _pitch(shape: torch.Size, offsets: tuple[Offset, ...]) -> int:
    """Width of the padded rows; offsets beyond the image need no padding."""
    return shape[3] + max((abs(dx) for _, dx in offsets if abs(dx) < shape[3]), default=0)


def _parts(x: Tensor) -> list[slice]:
    """Parts of the batch processed together: one image on the CPU, for its cache, else all."""
    if is_on_cpu(x):
        return [slice(image, image + 1) for image in range(x.shape[0])]
    return [slice(None)]


def _fill(flat: Tensor, x: Tensor, valid: Tensor | None, plan: SoftPlan, pitch: int) -> None:
    """Write the values of one part; padding and pixels that are not valid are zero."""
    padded = flat.view(*x.shape[:3], pitch)
    inner = padded[..., : x.shape[3]]
    padded[..., x.shape[3] :] = 0.0
    if plan.one_hot:
        inner.zero_().scatter_(1, x.argmax(1, keepdim=True), 1.0)
    elif plan.from_logits:
        inner.copy_(torch.softmax(x, 1, dtype=flat.dtype))
    else:
        inner.copy_(x)
    if valid is not None:
        # Filled, not multiplied: a pixel that is not valid may be NaN.
        inner.masked_fill_(~valid[:, None], 0.0)


def _arg_max(scores: Tensor, valid: Tensor | None, labels: Tensor) -> None:
    """Arg-max of ``[C,H,W]``, 255 where not valid; torch.argmax is slow over a strided axis."""
    best = scores[0].clone()
    labels.zero_()
    for number in range(1, scores.shape[0]):
        labels.masked_fill_(scores[number] > best, number)
        torch.maximum(best, scores[number], out=best)
    if valid is not None:
        labels.masked_fill_(~valid, 255)


def _one_hot(labels: Tensor, shape: torch.Size, pitch: int, like: Tensor) -> Tensor:
    """Padded one-hot map of labels, ``[B,C,H*pitch]``."""
    padded = like.new_zeros((labels.shape[0], shape[1], shape[2], pitch))
    for number in range(shape[1]):
        padded[:, number, :, : shape[3]] = labels == number
    return padded.view(labels.shape[0], shape[1], -1)


def _scattered_counts(labels: Tensor, plan: HardPlan) -> Tensor:
    """One sum of ones per offset over the whole batch, on any device.

    Not ``bincount``: on a GPU the host would wait for the largest label.
    """
    batch, height, width = labels.shape
    side = plan.levels + 1  # the extra level collects the labels that are not counted
    level = labels.long()
    outside = (level < 0) | (level >= plan.levels)
    if plan.ignore_index is not None:
        outside |= level == plan.ignore_index
    level = level.masked_fill(outside, plan.levels)
    image = torch.arange(batch, device=labels.device)[:, None, None] * side * side
    shape = (batch, len(plan.offsets), plan.levels, plan.levels)
    result = torch.zeros(shape, dtype=torch.int64, device=labels.device)
    for position, (dy, dx) in enumerate(plan.offsets):
        if abs(dy) >= height or abs(dx) >= width:
            continue
        top, left = max(0, -dy), max(0, -dx)
        bottom, right = height - max(0, dy), width - max(0, dx)
        first = level[:, top:bottom, left:right]
        second = level[:, top + dy : bottom + dy, left + dx : right + dx]
        places = (image + first * side + second).flatten()
        bins = places.new_zeros(batch * side * side)
        bins.scatter_add_(0, places, places.new_ones(1).expand_as(places))
        result[:, position] = bins.view(batch, side, side)[:, :-1, :-1]
    return result


def _entropies(counts: Tensor, symmetric: bool) -> Tensor:
    p, _ = _normalised(counts, symmetric)
    return -(p * p.clamp_min(MIN_PROBABILITY).log()).sum((2, 3))


def _pair(
    flat: Tensor, offset: Offset, shape: torch.Size, pitch: int
) -> tuple[Tensor, Tensor] | None:
    """Views of the two pixels of all pairs; None if the offset is larger than the image."""
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
