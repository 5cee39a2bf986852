"""The NumPy reference as a backend.

ReferenceBackend().entropy(counts, symmetric=True)  # [B]
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trocar.cuda_kernels import reference
from trocar.cuda_kernels.backends.base import HardPlan, SoftPlan
from trocar.cuda_kernels.backends.torch import compute_dtype

Array = npt.NDArray[Any]


class ReferenceBackend:
    """NumPy in float64; results have the device of the input and its dtype for sums."""

    name = "reference"

    def hard_counts(self, labels: Tensor, plan: HardPlan) -> Tensor:
        """See ``reference.counts``."""
        level = _numpy(labels).astype(np.int64)
        if plan.ignore_index is not None:
            level = np.where(level == plan.ignore_index, -1, level)
        counts = reference.counts(level, levels=plan.levels, offsets=plan.offsets)
        return torch.from_numpy(counts).to(labels.device)

    def soft_counts(
        self, x: Tensor, valid: Tensor | None, plan: SoftPlan
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """See ``reference.soft_counts``."""
        counts = reference.soft_counts(_paired(x, plan), _mask(valid), plan.offsets)
        return _tensor(counts, x, compute_dtype(x.dtype)), ()

    def soft_gradient(
        self,
        x: Tensor,
        valid: Tensor | None,
        plan: SoftPlan,
        grad: Tensor,
        saved: tuple[Tensor, ...],
    ) -> Tensor:
        """See ``reference.soft_counts_gradient``."""
        result = reference.soft_counts_gradient(
            _paired(x, plan), _mask(valid), plan.offsets, _numpy(grad)
        )
        if plan.from_logits:
            result = reference.softmax_gradient(reference.softmax(_numpy(x)), result)
        if valid is not None:
            result = np.where(_numpy(valid)[:, None], result, 0.0)
        return _tensor(result, x, x.dtype)

    def entropy(self, counts: Tensor, *, symmetric: bool) -> Tensor:
        """See ``reference.entropy``."""
        result = reference.entropy(_numpy(counts), symmetric=symmetric)
        return _tensor(result, counts, compute_dtype(counts.dtype))

    def entropy_gradient(self, counts: Tensor, grad: Tensor, *, symmetric: bool) -> Tensor:
        """See ``reference.entropy_gradient``."""
        result = reference.entropy_gradient(_numpy(counts), _numpy(grad), symmetric=symmetric)
        return _tensor(result, counts, counts.dtype)


def _paired(x: Tensor, plan: SoftPlan) -> Array:
    """The values whose outer products are summed: one-hot, softmax or as given."""
    values = _numpy(x)
    if plan.one_hot:
        return reference.one_hot(values)
    return reference.softmax(values) if plan.from_logits else values


def _mask(valid: Tensor | None) -> npt.NDArray[np.bool_] | None:
    return None if valid is None else _numpy(valid)


def _numpy(tensor: Tensor) -> Array:
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point():
        tensor = tensor.double()  # NumPy has no bfloat16
    return np.asarray(tensor.numpy())


def _tensor(array: Array, like: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(like.device, dtype)
