"""Loss terms of several segmentation methods: supervision, and texture entropy as an extra.

terms = supervision(logits, mask, config) | texture(logits, mask, table, config, progress)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from trocar.contract.classes import IGNORE_INDEX, ClassTable
from trocar.contract.config import require
from trocar.contract.manifest import Manifest
from trocar.cuda_kernels import glcm_entropy, offsets_from, soft_glcm_entropy
from trocar.train.losses.by_name import SupervisionConfig, loss_weights, supervised_terms
from trocar.train.methods.protocol import ModelSpec, Progress

ANGLES = (0, 45, 90, 135)


@dataclass(frozen=True, kw_only=True)
class SegmentationConfig(SupervisionConfig):
    """A segmentation network and the weights of its supervised loss terms.

    Attributes:
        w_ce: Weight of the cross-entropy, where loss names none.
        w_dice: Weight of the Dice loss, where loss names none.
        w_texture: Weight of the texture entropy difference as an extra term.
        texture_mode: Entropy of a prediction: straight_through or soft.
        texture_distance: Distance in pixels between the two pixels of a pair.
        texture_from: Share of training, at the beginning, without the texture term.
    """

    w_ce: float = 1.0
    w_dice: float = 1.0
    w_texture: float = 0.0
    texture_mode: Literal["straight_through", "soft"] = "straight_through"
    texture_distance: int = 1
    texture_from: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            (self.w_ce >= 0, "w_ce must be 0 or more"),
            (self.w_dice >= 0, "w_dice must be 0 or more"),
            (self.w_texture >= 0, "w_texture must be 0 or more"),
            (
                self.w_ce + self.w_dice > 0 or bool(self.loss),
                "w_ce and w_dice are both 0: one of them must be above 0",
            ),
            *(
                (
                    not self.loss or getattr(self, name) == getattr(type(self), name),
                    f"{name} has no effect where loss names the losses: write "
                    f"{name.removeprefix('w_')}={getattr(self, name):g} there",
                )
                for name in ("w_ce", "w_dice")
            ),
            (self.texture_distance >= 1, "texture_distance must be 1 or more"),
            (0 <= self.texture_from < 1, "texture_from must be at least 0 and below 1"),
        )


class _TextureSettings(Protocol):
    @property
    def w_texture(self) -> float: ...
    @property
    def texture_mode(self) -> str: ...
    @property
    def texture_distance(self) -> int: ...
    @property
    def texture_from(self) -> float: ...


def supervision(logits: Tensor, mask: Tensor, config: SegmentationConfig) -> dict[str, Tensor]:
    """Weighted losses of labelled frames by name, see `trocar.train.losses.by_name`.

    ``ce`` and ``dice`` where the run names none, each where its weight is not 0.
    """
    own = {"ce": config.w_ce, "dice": config.w_dice}
    return supervised_terms(logits, mask, config, loss_weights(config, own))


def texture(
    logits: Tensor,
    mask: Tensor,
    table: ClassTable,
    config: _TextureSettings,
    progress: Progress,
) -> dict[str, Tensor]:
    """Weighted ``texture`` where its weight is not 0, from ``texture_from`` of training on."""
    if not config.w_texture or progress.step < config.texture_from * progress.total_steps:
        return {}
    difference = texture_difference(
        logits, mask, table, mode=config.texture_mode, distance=config.texture_distance
    )
    return {"texture": config.w_texture * difference.mean()}


def texture_difference(
    logits: Tensor, mask: Tensor, table: ClassTable, *, mode: str, distance: int = 1
) -> Tensor:
    """``|E(prediction) - E(labels)|`` of each image, see `trocar.train.methods.texture_entropy`.

    Args:
        logits: [B,K,h,w].
        mask: [B,h,w] int64; ignored pixels are left out of both entropies.
        table: Classes of equal grey value count as one.
        mode: ``straight_through``, ``soft`` or ``hard``.
        distance: Distance of a pair in pixels.

    Returns:
        [B] float32 in nats, 0 to ``2 ln K``.
    """
    offsets = offsets_from(distance, ANGLES)
    valid = mask != IGNORE_INDEX
    # Entropy sums need float32: in half precision they overflow.
    with torch.autocast(logits.device.type, enabled=False):
        predicted: Tensor = soft_glcm_entropy(
            logits.float(),
            from_logits=True,
            mode=mode,
            offsets=offsets,
            valid=valid,
            groups=table.greys,
        )
        target: Tensor = glcm_entropy(
            mask, levels=len(table), offsets=offsets, ignore_index=IGNORE_INDEX, groups=table.greys
        )
        return (predicted - target.to(predicted)).abs()


def normalised(difference: Tensor, classes: int) -> Tensor:
    """A texture difference as a share of the largest that K classes allow, ``2 ln K``."""
    return difference.detach().mean() / (2 * math.log(max(classes, 2)))


def manifest_of(spec: ModelSpec, *, method: str) -> Manifest:
    """A segmentation model's manifest, before export."""
    return Manifest(
        name=spec.name,
        task="segmentation",
        method=method,
        classes=spec.classes,
        input=spec.input,
    )
