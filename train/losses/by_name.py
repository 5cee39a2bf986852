"""Supervised losses by name: which terms a run has, and with which weights.

    config = SupervisionConfig(loss=("ce=1", "lovasz=0.5"), class_weights="1,4,4")
    terms = supervised_terms(logits, mask, config, loss_weights(config, {"ce": 1.0}))

`LOSSES` holds them by name. Plug-ins add others, for every segmentation method.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trocar.contract.config import require, unknown
from trocar.contract.errors import ConfigError
from trocar.contract.plug_ins import blamed, load, plug_in_fault, plug_ins
from trocar.train.constants import constant
from trocar.train.losses import regional, segmentation
from trocar.train.networks.segmentation import NetworkConfig

BALANCED = "balanced"

LossFunction = Callable[[Tensor, Tensor, "Tensor | None", Any], Tensor]
"""Logits [B,K,h,w], labels [B,h,w], class weights [K] or ``None``, and the method's settings, to
one value for each image [B] float32."""


@dataclass(frozen=True, kw_only=True)
class Loss:
    """A loss that runs can name.

    Attributes:
        function: What computes it.
        stands_alone: Whether it can be the only loss of a run.
    """

    function: LossFunction
    stands_alone: bool = True


LOSSES: dict[str, Loss] = {
    "ce": Loss(function=lambda z, y, w, _: segmentation.cross_entropy(z, y, w)),
    "dice": Loss(function=lambda z, y, w, _: segmentation.dice(z, y, w)),
    "focal": Loss(function=lambda z, y, w, c: regional.focal(z, y, w, gamma=c.focal_gamma)),
    "tversky": Loss(function=lambda z, y, w, c: regional.tversky(z, y, w, beta=c.tversky_beta)),
    "lovasz": Loss(function=lambda z, y, w, _: regional.lovasz(z, y, w)),
    "boundary": Loss(function=lambda z, y, w, _: regional.boundary(z, y, w), stands_alone=False),
}


def loss_names() -> list[str]:
    """Trocar's own losses, then those of plug-ins; imports none of them."""
    return [*LOSSES, *plug_ins("losses", own=LOSSES)]


def find_loss(name: str) -> Loss:
    """The loss of that name, one of `loss_names`.

    Raises:
        ConfigError: It is a plug-in's and does not work.
    """
    if name in LOSSES:
        return LOSSES[name]
    plug_in = plug_ins("losses", own=LOSSES)[name]
    added = load(plug_in)

    def function(logits: Tensor, mask: Tensor, weights: Tensor | None, config: Any) -> Tensor:
        with blamed(plug_in):
            values = added(logits, mask, weights, config)
        if not isinstance(values, Tensor) or values.shape != logits.shape[:1]:
            found = list(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise plug_in_fault(
                plug_in, f"it returned {found}, expected one value for each of the images, [B]"
            )
        return values

    return Loss(function=function)


@dataclass(frozen=True, kw_only=True)
class SupervisionConfig(NetworkConfig):
    """A segmentation network, and the losses on its labelled frames.

    Attributes:
        loss: Losses with their weights instead of the method's own, e.g. ce=1,lovasz=0.5 or
            --loss ce=1 --loss lovasz=0.5: ce, dice, focal, tversky, lovasz, boundary, or one of a
            plug-in. A name without a number has weight 1.
        class_weights: Weights of the classes in these losses: none, balanced (by how seldom their
            pixels are; the run records the numbers) or one number a class, e.g. 1,4,4.
        focal_gamma: Exponent of the focal loss.
        tversky_beta: Weight of missed pixels in the Tversky loss; false ones have the rest to 1.
    """

    loss: tuple[str, ...] = ()
    class_weights: str = "none"
    focal_gamma: float = 2.0
    tversky_beta: float = 0.7

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.loss == ("none",):
            object.__setattr__(self, "loss", ())
        faults = [*_loss_faults(self.loss), *_weight_faults(self.class_weights)]
        require(
            *((False, fault) for fault in faults),
            (
                math.isfinite(self.focal_gamma) and self.focal_gamma >= 0,
                "focal_gamma must be 0 or more",
            ),
            (0 <= self.tversky_beta <= 1, "tversky_beta must be in 0..1"),
        )


def parse_losses(texts: tuple[str, ...]) -> dict[str, float]:
    """Weights by name from ``NAME=WEIGHT`` or ``NAME``; those of weight 0 are left out."""
    pairs = (text.partition("=")[::2] for text in texts)
    weights = {name.strip(): float(number) if number else 1.0 for name, number in pairs}
    return {name: weight for name, weight in weights.items() if weight}


def parse_class_weights(text: str) -> tuple[float, ...] | None:
    """The numbers of ``class_weights``; ``None`` where there are none."""
    if text == "none":
        return None
    return tuple(float(part) for part in text.split(","))


def loss_weights(config: SupervisionConfig, own: Mapping[str, float]) -> dict[str, float]:
    """Weights of a run's losses by name.

    Args:
        config: The method's settings.
        own: What the method has where the run names no losses.
    """
    if config.loss:
        return parse_losses(config.loss)
    return {name: weight for name, weight in own.items() if weight}


def supervised_terms(
    logits: Tensor, mask: Tensor, config: SupervisionConfig, weights: Mapping[str, float]
) -> dict[str, Tensor]:
    """Weighted losses by name: batch means of image values.

    Args:
        logits: [B,K,h,w].
        mask: [B,h,w] int64.
        config: The method's settings.
        weights: See `loss_weights`.

    Raises:
        ConfigError: ``class_weights`` is still ``balanced``, or not one number for each class.
    """
    numbers = None
    if config.class_weights != "none":
        check_class_weights(config.class_weights, classes=logits.shape[1])
        weights_of_classes = parse_class_weights(config.class_weights) or ()
        numbers = constant(weights_of_classes, like=logits, dtype=torch.float32)
    # In half precision sums over many pixels overflow.
    with torch.autocast(logits.device.type, enabled=False):
        return {
            name: weight * find_loss(name).function(logits, mask, numbers, config).mean()
            for name, weight in weights.items()
        }


def check_class_weights(text: str, *, classes: int) -> None:
    """Refuses class weights that are not one number for each class.

    Raises:
        ConfigError: There are more or fewer, or they were not computed.
    """
    if text == BALANCED:
        raise ConfigError(
            "class_weights is balanced, but nothing counted the pixels of the classes",
            remedy="train through the loop, or give one number a class",
        )
    numbers = parse_class_weights(text) or ()
    if len(numbers) != classes:
        raise ConfigError(
            f"class_weights has {len(numbers)} numbers, the data have {classes} classes",
            remedy="give one number a class in the order of the class table, background first, or "
            f"{BALANCED}",
        )


def _loss_faults(texts: tuple[str, ...]) -> list[str]:
    faults, seen, total = [], set(), 0.0
    known = loss_names()
    for text in texts:
        name, is_weighted, number = text.partition("=")
        name = name.strip()
        if name not in known:
            faults.append(f"loss {unknown(name, known)}, expected {', '.join(known)}")
            continue
        if name in seen:
            faults.append(f"loss {name} is named twice")
        seen.add(name)
        weight = _number(number) if is_weighted else 1.0
        if weight is None or weight < 0:
            faults.append(f"loss {name} has weight {number!r}, expected a number of 0 or more")
            continue
        total += weight
    if faults or not texts:
        return faults
    if total == 0:
        return ["loss has no weight above 0: one of them must be"]
    names = parse_losses(texts)
    if not any(find_loss(name).stands_alone for name in names):
        faults.append(
            f"loss {' and '.join(names)} alone accepts a prediction of nothing: name another one "
            "beside it, e.g. ce=1"
        )
    return faults


def _weight_faults(text: str) -> list[str]:
    if text in ("none", BALANCED):
        return []
    numbers = [_number(part) for part in text.split(",")]
    if any(number is None or number < 0 for number in numbers):
        return [
            f"class_weights is {text!r}, expected none, {BALANCED}, or numbers of 0 or more with "
            "commas between them"
        ]
    if not any(numbers):
        return ["class_weights are all 0: one of them must be above 0"]
    return []


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
