"""Batch-hard triplet loss, with a margin or soft.

    loss = batch_hard(embeddings, labels, margin=0.3)

``mean_a [margin + max_p D(a,p) - min_n D(a,n)]+``, or ``mean_a log(1 + exp(max_p D - min_n D))``.
Source: Hermans et al., "In Defense of the Triplet Loss for Person Re-Identification", 2017.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from trocar.contract.errors import ArgumentError

_TINY = 1e-12


def distances(embeddings: Tensor) -> Tensor:
    """Euclidean distances ``[B, B]`` float32 between the rows of ``[B, D]``.

    The constant under the root keeps its gradient finite where two rows are equal.
    """
    vectors = embeddings.float()
    square = (vectors[:, None] - vectors[None]).square().sum(-1)
    return (square + _TINY).sqrt()


def batch_hard(
    embeddings: Tensor,
    labels: Tensor,
    *,
    margin: float | None = 0.3,
    digests: Tensor | None = None,
) -> Tensor:
    """Mean over all anchors that have a positive and a negative.

    Args:
        embeddings: ``[B, D]``.
        labels: ``[B]`` int64.
        margin: ``None`` for the soft margin.
        digests: ``[B]`` int64; rows of equal digest are copies of one picture, which are not
            positives of each other.

    Returns:
        Scalar float32; 0 where no anchor has both.

    Raises:
        ArgumentError: Shapes that do not fit.
    """
    if embeddings.ndim != 2 or labels.shape != embeddings.shape[:1]:
        raise ArgumentError(
            f"embeddings are {list(embeddings.shape)} and labels {list(labels.shape)}, expected "
            "[B, D] and [B]",
            remedy="give one label an embedding",
        )
    pairs = distances(embeddings)
    same = labels[:, None] == labels[None]
    positive = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    if digests is not None:
        positive &= digests[:, None] != digests[None]
    usable = positive.any(1) & (~same).any(1)
    hardest = pairs.masked_fill(~positive, -torch.inf).amax(1)
    nearest = pairs.masked_fill(same, torch.inf).amin(1)
    # Rows that are not usable hold infinities; they must not reach the gradient.
    gap = hardest.where(usable, 0.0) - nearest.where(usable, 0.0)
    each = functional.softplus(gap) if margin is None else (margin + gap).clamp(min=0)
    # Not each[usable].mean(): the host would wait for the number of rows.
    return (each * usable).sum() / usable.sum().clamp(min=1)
