"""Two published few-shot comparisons, on the features of the same network.

prototype_logits(query, support, membership)
local_descriptor_logits(query, support, membership)

Sources: Snell et al., "Prototypical Networks for Few-shot Learning", NeurIPS 2017; Li et al.,
"Revisiting Local Descriptor Based Image-to-Class Measure for Few-Shot Learning" (DN4), CVPR 2019.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trocar.train.networks.class_prototypes import unit


def prototype_logits(query: Tensor, support: Tensor, membership: Tensor) -> Tensor:
    """Minus the squared distance to the mean of each class's flattened features.

    Args:
        query: ``[Q,C,M]``.
        support: ``[S,C,M]``.
        membership: ``[S,K]`` 0 or 1.

    Returns:
        Logits ``[Q,K]``.
    """
    means = membership.t() @ support.flatten(1) / membership.sum(0).clamp(min=1)[:, None]
    return -torch.cdist(query.flatten(1), means).square()


def local_descriptor_logits(
    query: Tensor, support: Tensor, membership: Tensor, *, neighbours: int = 3
) -> Tensor:
    """Sum over a query's regions of its best cosines among all regions of a class.

    Args:
        query: ``[Q,C,M]``.
        support: ``[S,C,M]``.
        membership: ``[S,K]`` 0 or 1.
        neighbours: Best cosines that count.

    Returns:
        Logits ``[Q,K]``.
    """
    regions = unit(query.transpose(1, 2))  # [Q,M,C]
    pool = unit(support.transpose(1, 2)).flatten(0, 1)  # [S*M,C]
    cosines = regions @ pool.t()  # [Q,M,S*M]
    owners = (membership > 0).repeat_interleave(support.shape[2], dim=0)  # [S*M,K]
    columns = []
    for label in range(membership.shape[1]):
        # Masked, not selected: how many there are is never read to the host.
        own = cosines.masked_fill(~owners[:, label], -torch.inf)
        best = own.topk(min(neighbours, len(pool)), dim=-1).values
        columns.append(best.masked_fill(best.isneginf(), 0.0).sum((1, 2)))
    return torch.stack(columns, 1)
