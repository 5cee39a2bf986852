"""The interface of every backend, and the plans that a backend executes.

plan = SoftPlan(offsets=((0, 1),), from_logits=True, one_hot=False)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from trocar.cuda_kernels.offsets import Offset

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class HardPlan:
    """How to count label pairs."""

    offsets: tuple[Offset, ...]
    levels: int
    """Side of the matrices; labels outside ``0..levels-1`` belong to no pair."""
    ignore_index: int | None = None
    """Pixels of this label belong to no pair."""


@dataclass(frozen=True)
class SoftPlan:
    """How to sum products of class probabilities."""

    offsets: tuple[Offset, ...]
    from_logits: bool
    """Take the softmax over the classes first, and include its gradient."""
    one_hot: bool
    """Straight-through: the value is that of one-hot(argmax); the gradient ignores the arg-max."""


class Backend(Protocol):
    """Five functions on torch tensors, without autograd; ``autograd.py`` adds it.

    ``hard_counts`` and ``soft_counts`` give plain counts: neither symmetric nor normalised.
    """

    name: str

    def hard_counts(self, labels: Tensor, plan: HardPlan) -> Tensor:
        """``[B,H,W]`` integers to ``[B,O,L,L]`` integers."""
        ...

    def soft_counts(
        self, x: Tensor, valid: Tensor | None, plan: SoftPlan
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """``[B,C,H,W]`` and ``[B,H,W]`` to ``[B,O,C,C]``, and what ``soft_gradient`` needs."""
        ...

    def soft_gradient(
        self,
        x: Tensor,
        valid: Tensor | None,
        plan: SoftPlan,
        grad: Tensor,
        saved: tuple[Tensor, ...],
    ) -> Tensor:
        """Gradient of the counts, ``[B,O,C,C]``, to the gradient of ``x``, in its dtype."""
        ...

    def entropy(self, counts: Tensor, *, symmetric: bool) -> Tensor:
        """``[B,O,L,L]`` counts to the mean entropy over the offsets, ``[B]``."""
        ...

    def entropy_gradient(self, counts: Tensor, grad: Tensor, *, symmetric: bool) -> Tensor:
        """Gradient of the entropies, ``[B]``, to the gradient of the counts, ``[B,O,L,L]``."""
        ...
