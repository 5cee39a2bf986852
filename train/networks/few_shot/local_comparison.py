"""Local features by attention, class prototypes, and the comparison of queries with them.

    classes = prototypes_from(
        features, membership, attention_temperature=10.0, weight_temperature=10.0)
    scores = compare(query, classes, attention_temperature=10.0)         # [Q,K], -2..2

Features are ``[B,C,M]``: the final feature map, its M cells in a row. A cell is a region; the mean
over cells is the global feature. A query's class is unknown, so its local feature is computed once
for each class, as if it were of that class. Shapes: S supports, Q queries, K classes. Temperatures
multiply: a higher one is sharper. Source: Tianyi Cloud, 2023.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from trocar.train.networks.class_prototypes import unit


@dataclass(frozen=True, kw_only=True)
class Fusion:
    """How the global and the local feature form a photograph's vector.

    Attributes:
        whole_map: The global part is the whole map, so that positions matter; otherwise its mean.
        local_weight: Length of the local part beside a global one of length 1; 0 concatenates both
            as they are, so that the longer one dominates.
        local_feature: Whether there is a local part; without it, it is zero.
    """

    whole_map: bool = False
    local_weight: float = 0.0
    local_feature: bool = True


PLAIN = Fusion()


class ClassPrototypes(NamedTuple):
    """What a query is compared with; the field names are tensor names in bundles.

    Attributes:
        means: ``[K,C]`` mean of the unit global features of each class.
        counts: ``[K]`` float32, photographs of each class.
        descriptions: ``[K,G+C]`` weighted mean vectors, of length 1; see `split_features`.
    """

    means: Tensor
    counts: Tensor
    descriptions: Tensor


NAMES = ClassPrototypes._fields


def region_attention(same: Tensor, different: Tensor, temperature: float) -> Tensor:
    """Attention over regions, dimension 1: softmax of the two similarities' difference."""
    return (temperature * (same - different)).softmax(1)


def argmax_region(attention: Tensor, *, through: bool) -> Tensor:
    """One-hot of the largest attention along dimension 1, the first of equals.

    Args:
        attention: ``[B,M,...]``.
        through: Straight-through estimator: the gradient is the attention's. Otherwise none.
    """
    cells = torch.arange(attention.shape[1], device=attention.device)
    shape = (1, -1) + (1,) * (attention.ndim - 2)
    best = attention.argmax(1, keepdim=True)
    chosen = (cells.reshape(shape) == best).to(attention.dtype)
    return chosen + attention - attention.detach() if through else chosen


def support_similarities(features: Tensor, membership: Tensor) -> tuple[Tensor, Tensor]:
    """First and second similarity of every support's regions.

    The first is the mean cosine to the global features of the class's *other* supports, or to its
    own where there is no other; the second is the mean over the supports of all other classes.

    Args:
        features: ``[S,C,M]``.
        membership: ``[S,K]`` 0 or 1; a row of zeros takes no part.

    Returns:
        ``[S,M]`` each.
    """
    global_features = unit(features.mean(2))  # [S,C]
    regions = unit(features.transpose(1, 2))  # [S,M,C]
    sums = membership.t() @ global_features  # [K,C]
    counts = membership.sum(0)  # [K]
    to_class = regions @ sums.t()  # [S,M,K] sums of cosines
    to_self = (regions * global_features[:, None]).sum(-1)  # [S,M]
    in_class = (to_class * membership[:, None]).sum(-1)
    members = (membership @ counts)[:, None]  # [S,1]
    others = (in_class - to_self) / (members - 1).clamp(min=1)
    same = torch.where(members > 1, others, to_self)
    different = (to_class.sum(-1) - in_class) / (counts.sum() - members).clamp(min=1)
    return same, different


def quality_weights(features: Tensor, membership: Tensor, temperature: float) -> Tensor:
    """Weights ``[S,K]`` of the photographs inside their classes; each class's sum to 1.

    A photograph that differs from the others of its class weighs less.
    """
    global_features = unit(features.mean(2))
    means = membership.t() @ global_features / membership.sum(0).clamp(min=1)[:, None]
    alike = ((global_features @ means.t()) * membership).sum(-1, keepdim=True)  # [S,1] in -1..1
    raw = membership * (temperature * (alike - 1)).exp()
    return raw / raw.sum(0).clamp(min=1e-20)


def split_features(features: Tensor, local: Tensor, fusion: Fusion) -> tuple[Tensor, Tensor]:
    """Global and local parts of photographs' vectors, not normalised together.

    Args:
        features: ``[B,C,M]``.
        local: ``[B,...,C]``.
        fusion: See `Fusion`.

    Returns:
        ``[B,G]`` and ``[B,...,C]``; G is C, or C*M with ``whole_map``.
    """
    global_features = features.flatten(1) if fusion.whole_map else features.mean(2)
    if not fusion.local_feature:
        return global_features, 0 * local
    if not fusion.local_weight:
        return global_features, local
    return unit(global_features), fusion.local_weight * unit(local)


def prototypes_from(
    features: Tensor,
    membership: Tensor,
    *,
    attention_temperature: float,
    weight_temperature: float,
    fusion: Fusion = PLAIN,
    through: bool = False,
) -> ClassPrototypes:
    """Class prototypes from the supports of all classes.

    Args:
        features: ``[S,C,M]``.
        membership: ``[S,K]`` 0 or 1.
        attention_temperature: Sharpness of the attention.
        weight_temperature: Sharpness of the weights inside a class.
        fusion: See `Fusion`.
        through: See `argmax_region`.
    """
    same, different = support_similarities(features, membership)
    chosen = argmax_region(
        region_attention(same, different, attention_temperature), through=through
    )  # [S,M]
    local = (features * chosen[:, None]).sum(-1)  # [S,C]
    global_features = features.mean(2)
    vectors = unit(torch.cat(split_features(features, local, fusion), 1))  # [S,G+C]
    weights = quality_weights(features, membership, weight_temperature)
    counts = membership.sum(0)
    means = membership.t() @ unit(global_features) / counts.clamp(min=1)[:, None]
    return ClassPrototypes(means, counts, unit(weights.t() @ vectors))


def compare(
    features: Tensor,
    classes: ClassPrototypes,
    *,
    attention_temperature: float,
    fusion: Fusion = PLAIN,
    through: bool = False,
) -> Tensor:
    """Third minus fourth similarity of queries to every class, each taken as the query's own.

    Args:
        features: ``[Q,C,M]``.
        classes: See `prototypes_from`.
        attention_temperature: Sharpness of the attention.
        fusion: See `Fusion`.
        through: See `argmax_region`.

    Returns:
        ``[Q,K]``; -2..2.
    """
    means, counts, descriptions = classes
    regions = features.transpose(1, 2)  # [Q,M,C]
    same = unit(regions) @ means.t()  # [Q,M,K] if of class k
    total = (same * counts).sum(-1, keepdim=True)
    different = (total - same * counts) / (counts.sum() - counts).clamp(min=1)
    chosen = argmax_region(
        region_attention(same, different, attention_temperature), through=through
    )  # [Q,M,K]
    local = chosen.transpose(1, 2) @ regions  # [Q,K,C]
    # The vectors [Q,K,G+C] are not built: their global part is the same for all classes.
    global_features, local = split_features(features, local, fusion)
    length = (
        (global_features.square().sum(-1, keepdim=True) + local.square().sum(-1))
        .clamp(min=1e-12)
        .sqrt()
    )
    size = global_features.shape[-1]
    of_global, of_local = descriptions[:, :size], descriptions[:, size:]
    third = (global_features @ of_global.t() + (local * of_local).sum(-1)) / length
    to_all = (global_features @ of_global.sum(0))[:, None] + (local * of_local.sum(0)).sum(-1)
    to_all = to_all / length
    other_classes = (torch.ones_like(counts).sum() - 1).clamp(min=1)
    return third - (to_all - third) / other_classes
