"""Losses for rare classes and outlines: focal, Tversky, Lovász and boundary, one value an image.

    focal(logits, mask).mean() + boundary(logits, mask).mean()

Pixels whose label is `IGNORE_INDEX` are not counted. All run in float32. ``weights`` are [K], one
number for each class; an image counts only the classes that its labels show.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from trocar.contract.classes import IGNORE_INDEX
from trocar.train.losses.segmentation import class_mean, label_shares, pixel_mean


def focal(
    logits: Tensor, mask: Tensor, weights: Tensor | None = None, *, gamma: float = 2.0
) -> Tensor:
    """Cross-entropy times ``(1 - p)^gamma`` of the true class, over softmax.

    Source: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017.

    Args:
        logits: [B,K,h,w].
        mask: [B,h,w] int64.
        weights: [K], or ``None`` for equal ones.
        gamma: 0 is cross-entropy; larger numbers leave out more of what is already right.

    Returns:
        [B] float32; 0 for an image without labelled pixels.
    """
    loss = functional.cross_entropy(
        logits.float(), mask, ignore_index=IGNORE_INDEX, reduction="none"
    )
    # At p = 1 the power has no finite gradient for gamma below 1.
    rest = (1 - torch.exp(-loss)).clamp(min=1e-6)
    return pixel_mean(rest**gamma * loss, mask, weights)


def tversky(
    logits: Tensor, mask: Tensor, weights: Tensor | None = None, *, beta: float = 0.7
) -> Tensor:
    """``1 - TP / (TP + (1 - beta) FP + beta FN)`` of soft labels, over each image's classes.

    Source: Salehi et al., "Tversky Loss Function for Image Segmentation", MLMI 2017.

    Args:
        logits: [B,K,h,w].
        mask: [B,h,w] int64.
        weights: [K], or ``None`` for equal ones.
        beta: Weight of missed pixels, 0..1; false ones have ``1 - beta``.

    Returns:
        [B] float32 in 0..1; 0 for an image without labelled pixels.
    """
    shares, truth = label_shares(logits, mask)
    hit = (shares * truth).sum(dim=(2, 3))
    false = (shares * (1 - truth)).sum(dim=(2, 3))
    missed = truth.sum(dim=(2, 3)) - hit
    score = (hit + 1) / (hit + (1 - beta) * false + beta * missed + 1)
    return class_mean(1 - score, truth, weights)


def lovasz(logits: Tensor, mask: Tensor, weights: Tensor | None = None) -> Tensor:
    """Lovász-Softmax over each image's classes: a convex bound of 1 - IoU.

    Errors are sorted stably. Without that, equal errors (frequent where probabilities are 0 or 1)
    come in a random order, and a run could not be repeated or resumed exactly; this is why it is
    not the loss of segmentation-models-pytorch, which has the same values.
    Source: Berman et al., "The Lovász-Softmax loss", CVPR 2018.

    Args:
        logits: [B,K,h,w].
        mask: [B,h,w] int64.
        weights: [K], for a mean over classes by weight; ``None`` for equal ones.

    Returns:
        [B] float32 in 0..1; 0 for an image without labelled pixels.
    """
    shares, truth = label_shares(logits, mask)
    # Ignored pixels have error 0 and come last, where the gradient counts nothing.
    errors, order = (shares - truth).abs().flatten(2).sort(dim=2, descending=True, stable=True)
    hits = truth.flatten(2).gather(2, order)
    total = hits.sum(dim=2, keepdim=True)
    jaccard = 1 - (total - hits.cumsum(2)) / (total + (1 - hits).cumsum(2)).clamp(min=1)
    rise = torch.diff(jaccard, dim=2, prepend=jaccard.new_zeros(*jaccard.shape[:2], 1))
    return class_mean((errors * rise.detach()).sum(dim=2), truth, weights)


def boundary(logits: Tensor, mask: Tensor, weights: Tensor | None = None) -> Tensor:
    """False and missing probability, each pixel weighted by its distance to the true outline.

    ``mean |φ| |p - y|`` with φ the distance in image diagonals; classes that an image does not
    show, or that fill it, have no outline and do not count. Same gradient as the published form,
    ``mean φ p`` with signed φ, but 0 for a perfect prediction. Alone it would accept a prediction
    of nothing, so it needs another loss beside it. The gradient's last bits were measured to differ
    between equal calls on a CPU.
    Source: Kervadec et al., "Boundary loss for highly unbalanced segmentation", MIDL 2019.

    Returns:
        [B] float32, 0 or more.
    """
    shares, truth = label_shares(logits, mask)
    # The distances are OpenCV's: the labels are read to the host, the one wait of this loss.
    distance = _distances(mask, logits.shape[1]).to(shares.device, non_blocking=True)
    counted = (mask != IGNORE_INDEX).sum(dim=(1, 2)).clamp(min=1)
    # Signed, |φ| |p - y| is a product with the probability: abs() has no gradient at 0.
    signed = distance * (1 - 2 * truth)
    each = (signed * (shares - truth)).sum(dim=(2, 3)) / counted[:, None]
    return class_mean(each, truth, weights)


def _distances(mask: Tensor, classes: int) -> Tensor:
    """Distance of each pixel to the outline of each class in image diagonals: [B,K,h,w]."""
    labels = mask.to(torch.uint8).cpu().numpy()
    count, height, width = labels.shape
    distances = np.zeros((count, classes, height, width), np.float32)
    for image, places in zip(labels, distances, strict=True):
        for class_id in np.unique(image):
            if class_id < classes:
                places[class_id] = _distance((image == class_id).astype(np.uint8))
    return torch.from_numpy(distances / np.hypot(height, width).astype(np.float32))


def _distance(inside: NDArray[np.uint8]) -> NDArray[np.float32]:
    if inside.all():
        return np.zeros(inside.shape, np.float32)
    within = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    outside = cv2.distanceTransform(1 - inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # A pixel beside the outline is at distance 1 inside and outside; the outline lies between.
    distance: NDArray[np.float32] = np.maximum(within + outside - 0.5, 0).astype(np.float32)
    return distance
