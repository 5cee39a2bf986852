"""Local features by attention, class descriptions, and queries under every hypothesis.

    classes = describe(features, membership, tau_attention=10.0, tau_weight=10.0)
    scores = compare(query, classes, tau_attention=10.0)         # [Q,K], -2..2

Features are ``[B,C,M]``: the final feature map, its M cells in a row. A cell is a region; the mean
over cells is the global feature. Shapes: S supports, Q queries, K classes. Source: Tianyi Cloud,
2023.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from trocar.train.networks.class_prototypes import unit


@dataclass(frozen=True, kw_only=True)
class Joining:
    """How global and local feature make a photograph's vector.

    Attributes:
        whole_map: The global part is the whole map, so that places count; otherwise its mean.
        local_weight: Length of the local part beside a global one of length 1; 0 joins both as
            they are, so that the longer outweighs the other.
    """

    whole_map: bool = False
    local_weight: float = 0.0


PLAIN = Joining()


class ClassDescriptions(NamedTuple):
    """What a query is compared with.

    Attributes:
        means: ``[K,C]`` mean of the unit global features of each class.
        counts: ``[K]`` float32, photographs of each class.
        descriptions: ``[K,G+C]`` class descriptions, of length 1; see `parts`.
    """

    means: Tensor
    counts: Tensor
    descriptions: Tensor


NAMES = ClassDescriptions._fields


def region_attention(same: Tensor, different: Tensor, tau: float) -> Tensor:
    """Attention over regions, dimension 1: softmax of the two similarities' difference."""
    return (tau * (same - different)).softmax(1)


def pick(attention: Tensor, *, through: bool) -> Tensor:
    """One-hot of the largest attention along dimension 1, the first of equals.

    Args:
        attention: ``[B,M,...]``.
        through: Straight through: the gradient is the attention's own. Otherwise it has none.
    """
    cells = torch.arange(attention.shape[1], device=attention.device)
    shape = (1, -1) + (1,) * (attention.ndim - 2)
    best = attention.argmax(1, keepdim=True)
    chosen = (cells.reshape(shape) == best).to(attention.dtype)
    return chosen + attention - attention.detach() if through else chosen


def support_similarities(features: Tensor, membership: Tensor) -> tuple[Tensor, Tensor]:
    """First and second similarity of every support's regions.

    The first is the mean cosine to the global features of the class's *other* supports, or to its
    own where there is no other; the second the mean over all other classes' supports.

    Args:
        features: ``[S,C,M]``.
        membership: ``[S,K]`` 0 or 1; a row of zeros takes no part.

    Returns:
        ``[S,M]`` each.
    """
    whole = unit(features.mean(2))  # [S,C]
    regions = unit(features.transpose(1, 2))  # [S,M,C]
    sums = membership.t() @ whole  # [K,C]
    counts = membership.sum(0)  # [K]
    to_class = regions @ sums.t()  # [S,M,K] sums of cosines
    to_self = (regions * whole[:, None]).sum(-1)  # [S,M]
    in_class = (to_class * membership[:, None]).sum(-1)
    fellows = (membership @ counts)[:, None]  # [S,1]
    others = (in_class - to_self) / (fellows - 1).clamp(min=1)
    same = torch.where(fellows > 1, others, to_self)
    different = (to_class.sum(-1) - in_class) / (counts.sum() - fellows).clamp(min=1)
    return same, different


def quality_weights(features: Tensor, membership: Tensor, tau: float) -> Tensor:
    """Weights ``[S,K]`` of the photographs inside their classes; each class's sum to 1.

    A photograph that looks unlike its fellows, a poor one, weighs less.
    """
    whole = unit(features.mean(2))
    means = membership.t() @ whole / membership.sum(0).clamp(min=1)[:, None]
    alike = ((whole @ means.t()) * membership).sum(-1, keepdim=True)  # [S,1] in -1..1
    raw = membership * (tau * (alike - 1)).exp()
    return raw / raw.sum(0).clamp(min=1e-20)


def parts(features: Tensor, local: Tensor, joining: Joining) -> tuple[Tensor, Tensor]:
    """Global and local part of representation vectors, of no particular length together.

    Args:
        features: ``[B,C,M]``.
        local: ``[B,...,C]``.
        joining: See `Joining`.

    Returns:
        ``[B,G]`` and ``[B,...,C]``; G is C, or C*M with ``whole_map``.
    """
    whole = features.flatten(1) if joining.whole_map else features.mean(2)
    if not joining.local_weight:
        return whole, local
    return unit(whole), joining.local_weight * unit(local)


def describe(
    features: Tensor,
    membership: Tensor,
    *,
    tau_attention: float,
    tau_weight: float,
    joining: Joining = PLAIN,
    through: bool = False,
) -> ClassDescriptions:
    """Class descriptions from the supports of all classes.

    Args:
        features: ``[S,C,M]``.
        membership: ``[S,K]`` 0 or 1.
        tau_attention: Sharpness of the attention.
        tau_weight: Sharpness of the weights inside a class.
        joining: See `Joining`.
        through: See `pick`.
    """
    same, different = support_similarities(features, membership)
    chosen = pick(region_attention(same, different, tau_attention), through=through)  # [S,M]
    local = (features * chosen[:, None]).sum(-1)  # [S,C]
    whole = features.mean(2)
    vectors = unit(torch.cat(parts(features, local, joining), 1))  # [S,G+C]
    weights = quality_weights(features, membership, tau_weight)
    counts = membership.sum(0)
    means = membership.t() @ unit(whole) / counts.clamp(min=1)[:, None]
    return ClassDescriptions(means, counts, unit(weights.t() @ vectors))


def compare(
    features: Tensor,
    classes: ClassDescriptions,
    *,
    tau_attention: float,
    joining: Joining = PLAIN,
    through: bool = False,
) -> Tensor:
    """Third minus fourth similarity of queries under every hypothesis of their class.

    Args:
        features: ``[Q,C,M]``.
        classes: See `describe`.
        tau_attention: Sharpness of the attention.
        joining: See `Joining`.
        through: See `pick`.

    Returns:
        ``[Q,K]``; -2..2.
    """
    means, counts, descriptions = classes
    regions = features.transpose(1, 2)  # [Q,M,C]
    same = unit(regions) @ means.t()  # [Q,M,K] under hypothesis k
    total = (same * counts).sum(-1, keepdim=True)
    different = (total - same * counts) / (counts.sum() - counts).clamp(min=1)
    chosen = pick(region_attention(same, different, tau_attention), through=through)  # [Q,M,K]
    local = chosen.transpose(1, 2) @ regions  # [Q,K,C]
    # The vectors [Q,K,G+C] are never made: their global part is the same for all hypotheses.
    whole, own = parts(features, local, joining)
    length = (whole.square().sum(-1, keepdim=True) + own.square().sum(-1)).clamp(min=1e-12).sqrt()
    size = whole.shape[-1]
    of_whole, of_local = descriptions[:, :size], descriptions[:, size:]
    third = (whole @ of_whole.t() + (own * of_local).sum(-1)) / length
    everything = (whole @ of_whole.sum(0))[:, None] + (own * of_local.sum(0)).sum(-1)
    everything = everything / length
    rivals = (torch.ones_like(counts).sum() - 1).clamp(min=1)
    return third - (everything - third) / rivals
