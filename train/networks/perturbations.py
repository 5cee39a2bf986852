"""Perturbations between a shared encoder and its auxiliary decoders.

    perturb = PERTURBATIONS["f-noise"]
    features = perturb(features, main)

Each takes the shared features (the deepest, then the skips) and the main decoder's output
for them, and returns perturbed features. The skip is perturbed as well: a clean one would carry the
details past the perturbation. All random numbers come from torch's default generator.
Source: Ouali et al., "Semi-Supervised Semantic Segmentation with Cross-Consistency Training",
CVPR 2020, as far as the patent in `trocar.train.methods.cross_consistency` names them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from trocar.train.networks.segmentation import Features

NOISE_RANGE = 0.3
DROP_RANGE = (0.7, 0.9)
SPATIAL_DROPOUT = 0.5
CUTOUT_SHARE = 0.4
CONTOUR_POINTS = 50
VAT_XI = 0.1
VAT_EPSILON = 2.0

Box = tuple[int, int, int, int]
"""Left, top, width and height in pixels."""


@dataclass(frozen=True)
class MainOutput:
    """The main decoder's output for the clean features, and the decoder to be perturbed.

    Attributes:
        decoder: Features to logits [B,K,h,w]; VAT moves the features where its output changes most.
        probability: The main decoder's class probabilities [B,K,h,w], without gradient.
        instruments: Ids of the classes that guided masking takes for objects, e.g. those that the
            class table calls instruments; ``None`` for all but class 0.
        boxes: What `object_boxes` finds in each image; ``None`` reads the objects to the host.
    """

    decoder: nn.Module
    probability: Tensor
    instruments: tuple[int, ...] | None = None
    boxes: Sequence[Sequence[Box]] | None = None

    @functools.cached_property
    def objects(self) -> Tensor:
        """1 where an object is predicted, 0 elsewhere: [B,1,h,w] float."""
        # Equals an arg-max, which is far slower on a CPU: 20 ms instead of 0.3 for 8 small images.
        scores = torch.unbind(self.probability, dim=1)
        chosen = range(1, len(scores)) if self.instruments is None else self.instruments
        inside = [score for label, score in enumerate(scores) if label in chosen]
        outside = [score for label, score in enumerate(scores) if label not in chosen]
        if not inside or not outside:
            return torch.full_like(scores[0], float(bool(inside)))[:, None]
        strongest: Tensor = functools.reduce(torch.maximum, inside)
        return (strongest > functools.reduce(torch.maximum, outside))[:, None].float()


Perturbation = Callable[[Features, MainOutput], Features]


def f_noise(features: Features, main: MainOutput) -> Features:
    """``z ⊙ N + z`` with ``N ~ U(−0.3, 0.3)`` of one sample's shape, shared by the batch."""
    return tuple(map(_add_noise, features))


def f_drop(features: Features, main: MainOutput) -> Features:
    """Keeps positions whose channel mean is below ``γ``, ``γ ~ U(0.7, 0.9) · max`` per sample."""
    return tuple(map(_drop_most_active, features))


def spatial_dropout(features: Features, main: MainOutput) -> Features:
    """Drops half of the channels."""
    return tuple(functional.dropout2d(f, SPATIAL_DROPOUT, training=True) for f in features)


def object_masking(features: Features, main: MainOutput) -> Features:
    """Keeps only what the main decoder predicts as objects."""
    return _mask(features, main.objects)


def context_masking(features: Features, main: MainOutput) -> Features:
    """Keeps only what the main decoder predicts as no object."""
    return _mask(features, 1 - main.objects)


def guided_cutout(features: Features, main: MainOutput) -> Features:
    """Cuts a random box of 0.4 × height and width out of each predicted object's bounding box."""
    keep = torch.ones_like(main.objects)
    boxes = boxes_of(main.objects) if main.boxes is None else main.boxes
    for image, found in enumerate(boxes):
        for x, y, width, height in found:
            w, h = int(CUTOUT_SHARE * width), int(CUTOUT_SHARE * height)
            right, down = torch.rand(2).tolist()
            left, top = x + int(right * (width - w)), y + int(down * (height - h))
            keep[image, 0, top : top + h, left : left + w] = 0
    return _mask(features, keep)


def vat(features: Features, main: MainOutput) -> Features:
    """Moves the features where the decoder's output changes most (virtual adversarial)."""
    moves = adversarial_direction(features, main)
    return tuple(f + VAT_EPSILON * d for f, d in zip(features, moves, strict=True))


PERTURBATIONS: Mapping[str, Perturbation] = {
    "f-noise": f_noise,
    "f-drop": f_drop,
    "object-masking": object_masking,
    "context-masking": context_masking,
    "guided-cutout": guided_cutout,
    "vat": vat,
    "spatial-dropout": spatial_dropout,
}


def boxes_of(objects: Tensor) -> list[list[Box]]:
    """`object_boxes` of each image of ``[B,1,h,w]``; the host waits for a GPU here."""
    return [object_boxes(image) for image in objects[:, 0].to(torch.uint8).cpu().numpy()]


def object_boxes(objects: np.ndarray) -> list[Box]:  # type: ignore[type-arg]
    """Bounding boxes ``(x, y, width, height)`` of contours of more than 50 points."""
    contours, _ = cv2.findContours(objects, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    boxes = [cv2.boundingRect(c) for c in contours if len(c) > CONTOUR_POINTS]
    return [(int(x), int(y), int(w), int(h)) for x, y, w, h in boxes]


def adversarial_direction(features: Features, main: MainOutput, *, xi: float = VAT_XI) -> Features:
    """One power iteration on ``KL(D(z) ‖ D(z + ξ d))``: unit vectors per sample, no gradient.

    ``d`` starts as ``U(−0.5, 0.5)``. In float32 a step of 1e-6, as published, is lost in rounding;
    at 0.1 the direction is that of float64. The decoder is in evaluation mode meanwhile.
    """
    clean = [feature.detach() for feature in features]
    start = [_unit(torch.rand_like(f) - 0.5).mul(xi).requires_grad_() for f in clean]
    device = clean[0].device.type
    with torch.enable_grad(), eval_mode(main.decoder), torch.autocast(device, enabled=False):
        exact = [
            feature.float() if feature.dtype != torch.float64 else feature for feature in clean
        ]
        with torch.no_grad():
            target = main.decoder(tuple(exact)).softmax(dim=1)
        shifted = tuple(f + d for f, d in zip(exact, start, strict=True))
        moved = main.decoder(shifted).log_softmax(dim=1)
        divergence = functional.kl_div(moved, target, reduction="sum")
        # Not .backward(): that would leave gradients in the decoder's parameters.
        # A decoder need not read every stage.
        gradients = torch.autograd.grad(
            divergence, start, allow_unused=True, materialize_grads=True
        )
    return tuple(_unit(gradient).detach() for gradient in gradients)


def _add_noise(feature: Tensor) -> Tensor:
    noise = torch.empty_like(feature[0]).uniform_(-NOISE_RANGE, NOISE_RANGE)
    return feature * noise + feature


def _drop_most_active(feature: Tensor) -> Tensor:
    attention = feature.detach().mean(dim=1, keepdim=True)
    highest = attention.amax(dim=(1, 2, 3), keepdim=True)
    gamma = torch.empty_like(highest).uniform_(*DROP_RANGE) * highest
    return feature * (attention < gamma).to(feature.dtype)


def _mask(features: Features, keep: Tensor) -> Features:
    return tuple(
        f * functional.interpolate(keep, size=f.shape[2:], mode="nearest").to(f.dtype)
        for f in features
    )


def _unit(direction: Tensor) -> Tensor:
    norm: Tensor = direction.flatten(1).square().sum(dim=1).sqrt().reshape(-1, 1, 1, 1)
    return direction / norm.clamp_min(1e-30)


@contextmanager
def eval_mode(decoder: nn.Module) -> Iterator[None]:
    """Evaluation mode: BatchNorm and dropout do not change; modes are restored afterwards."""
    modes = [(module, module.training) for module in decoder.modules()]
    decoder.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
