"""Segmentation losses with one value for each image, so that any split of a batch has one mean.

    cross_entropy(logits, mask).mean() + dice(logits, mask).mean()

Pixels whose label is `IGNORE_INDEX` are not counted. All run in float32.
"""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional

from trocar.contract.classes import IGNORE_INDEX


def cross_entropy(logits: Tensor, mask: Tensor) -> Tensor:
    """Mean cross-entropy over each image's labelled pixels.

    Args:
        logits: [B,K,h,w].
        mask: [B,h,w] int64.

    Returns:
        [B] float32; 0 for an image without labelled pixels.
    """
    loss = functional.cross_entropy(
        logits.float(), mask, ignore_index=IGNORE_INDEX, reduction="none"
    )
    counted = (mask != IGNORE_INDEX).sum(dim=(1, 2))
    return loss.sum(dim=(1, 2)) / counted.clamp(min=1)


def dice(logits: Tensor, mask: Tensor) -> Tensor:
    """One minus the soft Dice, over the classes that each image's labels show.

    Source: Milletari et al., "V-Net", 3DV 2016 (squared denominators), per image rather than batch.

    Returns:
        [B] float32 in 0..1; 0 for an image without labelled pixels.
    """
    classes = logits.shape[1]
    valid = mask != IGNORE_INDEX
    truth = functional.one_hot(mask.masked_fill(~valid, 0), classes).permute(0, 3, 1, 2).float()
    weight = valid[:, None].float()
    shares = logits.float().softmax(dim=1) * weight
    truth = truth * weight
    overlap = (shares * truth).sum(dim=(2, 3))
    size = shares.square().sum(dim=(2, 3)) + truth.sum(dim=(2, 3))
    score = (2 * overlap + 1) / (size + 1)
    present = (truth.sum(dim=(2, 3)) > 0).float()
    return ((1 - score) * present).sum(dim=1) / present.sum(dim=1).clamp(min=1)


def ramp_up(step: float, length: float) -> float:
    """Gaussian ramp ``exp(-5 (1 - min(step/length, 1))²)``, 0.0067 at 0 and 1 from ``length`` on.

    Source: Laine and Aila, "Temporal Ensembling", ICLR 2017.
    """
    share = 1.0 if length <= 0 else min(max(step / length, 0.0), 1.0)
    return math.exp(-5.0 * (1.0 - share) ** 2)
