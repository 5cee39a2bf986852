"""Segmentation losses with one value for each image, so that any split of a batch has one mean.

    cross_entropy(logits, mask).mean() + dice(logits, mask).mean()

Pixels whose label is `IGNORE_INDEX` are not counted. All run in float32.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from trocar.contract.classes import IGNORE_INDEX


def cross_entropy(logits: Tensor, mask: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean cross-entropy over each image's labelled pixels.

    Args:
        logits: [B,K,h,w].
        mask: [B,h,w] int64.
        weights: [K], a pixel counts as much as its class; ``None`` for equal ones.

    Returns:
        [B] float32; 0 for an image without labelled pixels.
    """
    loss = functional.cross_entropy(
        logits.float(), mask, ignore_index=IGNORE_INDEX, reduction="none"
    )
    return pixel_mean(loss, mask, weights)


def dice(logits: Tensor, mask: Tensor, weights: Tensor | None = None) -> Tensor:
    """One minus the soft Dice, over the classes that each image's labels show.

    Source: Milletari et al., "V-Net", 3DV 2016 (squared denominators), per image rather than batch.

    Args:
        logits: [B,K,h,w].
        mask: [B,h,w] int64.
        weights: [K], for a mean over classes by weight; ``None`` for equal ones.

    Returns:
        [B] float32 in 0..1; 0 for an image without labelled pixels.
    """
    shares, truth = label_shares(logits, mask)
    overlap = (shares * truth).sum(dim=(2, 3))
    size = shares.square().sum(dim=(2, 3)) + truth.sum(dim=(2, 3))
    score = (2 * overlap + 1) / (size + 1)
    return class_mean(1 - score, truth, weights)


def pixel_mean(loss: Tensor, mask: Tensor, weights: Tensor | None) -> Tensor:
    """Mean of a loss [B,h,w] over each image's labelled pixels, by the weights of their classes."""
    valid = mask != IGNORE_INDEX
    if weights is None:
        return loss.sum(dim=(1, 2)) / valid.sum(dim=(1, 2)).clamp(min=1)
    weight = weights.to(loss)[mask.masked_fill(~valid, 0)] * valid
    total = weight.sum(dim=(1, 2))
    # An image whose classes all have weight 0 counts 0.
    return (loss * weight).sum(dim=(1, 2)) / torch.where(total > 0, total, 1.0)


def class_mean(each: Tensor, truth: Tensor, weights: Tensor | None) -> Tensor:
    """Mean of a loss [B,K] over the classes that each image's labels [B,K,h,w] show: [B]."""
    present = (truth.sum(dim=(2, 3)) > 0).float()
    if weights is None:
        return (each * present).sum(dim=1) / present.sum(dim=1).clamp(min=1)
    weight = present * weights.to(each)
    total = weight.sum(dim=1)
    return (each * weight).sum(dim=1) / torch.where(total > 0, total, 1.0)


def label_shares(logits: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities and one-hot labels [B,K,h,w] float32, both 0 where a pixel is ignored."""
    classes = logits.shape[1]
    valid = mask != IGNORE_INDEX
    truth = functional.one_hot(mask.masked_fill(~valid, 0), classes).permute(0, 3, 1, 2).float()
    weight = valid[:, None].float()
    return logits.float().softmax(dim=1) * weight, truth * weight


def ramp_up(step: float, length: float) -> float:
    """Gaussian ramp ``exp(-5 (1 - min(step/length, 1))²)``, 0.0067 at 0 and 1 from ``length`` on.

    Source: Laine and Aila, "Temporal Ensembling", ICLR 2017.
    """
    share = 1.0 if length <= 0 else min(max(step / length, 0.0), 1.0)
    return math.exp(-5.0 * (1.0 - share) ** 2)
