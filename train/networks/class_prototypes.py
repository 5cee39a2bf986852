"""Class prototypes: the tensors that a classifier compares with, apart from its weights.

    centroids = centroids_from(embeddings, membership)      # [K,D]

A deployable classifier has ``class_prototypes()``, the named tensors of its trained classes, and
``enroller``, a module that makes such tensors from features of photographs and their membership.
Its ``forward(image, *tensors)`` compares with the given tensors, or with the trained ones where
none are given. The exported graph takes them as inputs with defaults: classes can be added later.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional


class PrototypeModel(Protocol):
    """A network whose classes can be changed without training."""

    kind: str
    """``centroid`` or ``local``."""

    enroller: nn.Module
    """Features ``[S,F]`` and membership ``[S,K]`` to the class tensors, in the order of names."""

    def class_prototypes(self) -> dict[str, Tensor]:
        """The trained classes' tensors by name; the first dimension is the class."""
        ...

    def support_features(self) -> tuple[Tensor, Tensor]:
        """Features ``[S,F]`` and owners ``[S]`` int64 that the trained classes came from."""
        ...


def unit(vectors: Tensor) -> Tensor:
    """Vectors of length 1 along the last dimension."""
    return functional.normalize(vectors.float(), dim=-1, eps=1e-6)


def centroids_from(features: Tensor, membership: Tensor) -> Tensor:
    """Class centroids on the unit sphere.

    Args:
        features: ``[S, D]`` embeddings.
        membership: ``[S, K]`` 0 or 1.

    Returns:
        ``[K, D]``, of length 1; a class without members gets zeros.
    """
    return unit(membership.t() @ unit(features))


class CentroidEnroller(nn.Module):
    """`centroids_from` as a module, to be exported."""

    def forward(self, features: Tensor, membership: Tensor) -> Tensor:
        """``[S,D]`` and ``[S,K]`` to ``[K,D]``."""
        return centroids_from(features, membership)


def membership_of(owners: Tensor, classes: int) -> Tensor:
    """Owners ``[S]`` int64 as ``[S, K]`` float32 of 0 and 1."""
    return functional.one_hot(owners, classes).to(torch.float32)
