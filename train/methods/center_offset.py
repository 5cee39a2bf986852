"""Centres and offsets: instances of crossing instruments, by Panoptic-DeepLab on any architecture.

    trocar train center-offset DATA --out runs/instances

Source: Cheng et al., "Panoptic-DeepLab: A Simple, Strong, and Fast Baseline for Bottom-Up Panoptic
Segmentation", CVPR 2020. A network finds classes, centres and, for each pixel of an instrument, the
offset to the centre of its instance; pixels are grouped by the centre that they point to.

Equation: ``L = w_ce · CE(f(x), y) + w_dice · (1 − Dice) + w_center · mean (ĥ − h)² + w_offset ·
mean_{instances} |ô − o|``, per image, then the batch mean. ``h`` is 1 at the centre of mass of an
instance's visible pixels and falls as a Gaussian with ``center_sigma``; ``o`` is the way from a
pixel to that centre, its rows plus its columns, as a fraction of the input's diagonal.

Departures and decisions:
- Cross-entropy and Dice as in `supervised`, which it is compared with; the paper has cross-entropy
  of the hardest pixels, with more weight on small instances.
- The paper's Gaussian has 8 pixels and its offsets count in pixels, with weight 0.01. Both are
  fractions of the diagonal here, and hold for any size; the weight is nearly the same at 320x256.
  A Gaussian of 8 pixels at 128x96 is found much sooner than one of 3.
- Centres and offsets follow from the instance map after augmentation has moved it.
- A centre is the highest place within 1.5 standard deviations; the paper has a square of 7 pixels.
- Classes that are no instruments are background: they have no instances.
- The score of an instance is the heat at its centre times the mean probability of its class, as in
  the paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from trocar.contract.classes import IGNORE_INDEX
from trocar.contract.config import require
from trocar.contract.manifest import Manifest
from trocar.train.constants import constant
from trocar.train.data.loader.instances import require_instances
from trocar.train.data.loader.segmentation import frames_stream
from trocar.train.data.sample import FrameSet
from trocar.train.losses.supervision_and_texture import (
    SegmentationConfig,
    manifest_of,
    supervision,
    texture,
)
from trocar.train.methods.protocol import Batch, BatchSource, ModelSpec, Progress, TrainData
from trocar.train.metrics.instances import draw_instances, evaluate_instances
from trocar.train.networks.center_offset.network import CenterOffsetNetwork, Maps, diagonal
from trocar.train.networks.center_offset.targets import CenterTargets, center_targets
from trocar.train.networks.segmentation import finish_statistics


@dataclass(frozen=True, kw_only=True)
class CenterOffsetConfig(SegmentationConfig):
    """Centres and offsets.

    Attributes:
        w_center: Weight of the squared error of the heat map of centres.
        w_offset: Weight of the absolute error of offsets, as fractions of the diagonal.
        center_sigma: Standard deviation of a centre in the heat map, as a fraction of the diagonal.
        max_instances: Largest number of instruments in a frame, 1..255; a frame with more is
            refused in training, and its best ones are found at run time.
        min_score: Smallest score of an instance at run time, 0..1.
    """

    w_center: float = 200.0
    w_offset: float = 4.0
    center_sigma: float = 0.05
    max_instances: int = 8
    min_score: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            (self.w_center > 0, "w_center must be above 0: without centres nothing is an instance"),
            (self.w_offset > 0, "w_offset must be above 0: without offsets pixels find no centre"),
            (0 < self.center_sigma <= 0.5, "center_sigma must be above 0, at most 0.5"),
            (1 <= self.max_instances <= 255, "max_instances must be 1..255"),
            (0 <= self.min_score < 1, "min_score must be at least 0 and below 1"),
        )


class CenterOffset:
    """See the module."""

    name = "center-offset"
    task = "instances"
    Config = CenterOffsetConfig
    required_data = ()
    optional_data = ()
    monitor = "instance_pq"

    def __init__(self, config: CenterOffsetConfig) -> None:
        self.config = config
        self.logged: dict[str, Tensor | float] = {}
        self.notes: list[str] = []

    def streams(self, data: TrainData) -> Mapping[str, BatchSource]:
        """Labelled frames with instance maps.

        Raises:
            DataError: The frames to train on or to validate on have no instance maps.
        """
        for frames in (data.labelled, data.validation):
            require_instances(frames)
        self.notes = _notes(data.labelled)
        self.labelled = frames_stream(
            data,
            data.labelled,
            size=self.config.size,
            name="labelled",
            instances=self.config.max_instances,
        )
        return {"labelled": self.labelled}

    def build(self, spec: ModelSpec) -> nn.Module:
        """Encoder, decoder of classes, and decoder of centres and offsets."""
        self.spec = spec
        self.network = CenterOffsetNetwork(
            self.config,
            classes=len(spec.classes),
            input=spec.input,
            max_instances=self.config.max_instances,
            center_sigma=self.config.center_sigma,
        )
        return self.network

    def losses(self, batch: Mapping[str, Batch], progress: Progress) -> dict[str, Tensor]:
        """``ce``, ``dice``, ``center``, ``offset`` and, where asked for, ``texture``."""
        labelled, table = batch["labelled"], self.spec.classes
        maps = self.network.maps(labelled["image"])
        mask = _instruments_only(labelled["mask"], table.instrument_ids)
        height, width = mask.shape[-2:]
        target = center_targets(
            labelled["instances"],
            mask,
            instruments=table.instrument_ids,
            most=self.config.max_instances,
            sigma=self.config.center_sigma * diagonal(height, width),
        )
        center, offset = instance_losses(maps, target, diagonal=diagonal(height, width))
        return {
            **supervision(maps.logits, mask, self.config),
            **texture(maps.logits, mask, table, self.config, progress),
            "center": self.config.w_center * center.mean(),
            "offset": self.config.w_offset * offset.mean(),
        }

    def after_step(self, progress: Progress) -> None:
        """After the last step, BatchNorm's statistics; see `finish_statistics`."""
        if self.config.bn_batches:
            finish_statistics(self.network, self.labelled, progress, batches=self.config.bn_batches)

    def evaluate(self, data: TrainData) -> dict[str, float]:
        """See `trocar.train.metrics.instances`."""
        return evaluate_instances(
            self.network, data.validation, size=self.config.size, min_score=self.config.min_score
        )

    def save_predictions(self, data: TrainData, path: Path) -> None:
        """Frames, true and found instances."""
        draw_instances(
            self.network,
            data.validation,
            path,
            size=self.config.size,
            min_score=self.config.min_score,
        )

    def deployable(self) -> tuple[nn.Module, Manifest]:
        """The network, which groups pixels itself."""
        manifest = manifest_of(self.spec, method=self.name)
        settings = {
            "form": "detections",
            "score": self.config.min_score,
            "max_instances": self.config.max_instances,
        }
        return self.network, replace(manifest, task="instances", extra={"instances": settings})


def instance_losses(maps: Maps, target: CenterTargets, *, diagonal: float) -> tuple[Tensor, Tensor]:
    """Squared error of the centres, absolute error of the offsets.

    Args:
        maps: What the network made.
        target: What it should have made.
        diagonal: Of the maps, in pixels.

    Returns:
        Both [B] float32; 0 for an image without pixels that count.
    """
    with torch.autocast(maps.centers.device.type, enabled=False):
        squared = (maps.centers.float() - target.heat).square()
        away = (maps.offsets.float() - target.offsets / diagonal).abs().sum(dim=1)
        return _mean(squared, target.is_counted), _mean(away, target.is_instance)


def _mean(values: Tensor, where: Tensor) -> Tensor:
    """Mean of values [B,h,w] over the pixels of each image that count: [B]."""
    return (values * where).sum(dim=(1, 2)) / where.sum(dim=(1, 2)).clamp(min=1)


def _instruments_only(mask: Tensor, instruments: tuple[int, ...]) -> Tensor:
    """The labels with background for all classes that have no instances."""
    kept = constant((*instruments, IGNORE_INDEX), like=mask)
    return torch.where(torch.isin(mask, kept), mask, 0)


def _notes(frames: FrameSet) -> list[str]:
    others = [row.name for row in frames.table.rows[1:] if not row.instrument]
    if not others:
        return []
    return [f"background here, as they are no instruments: {', '.join(others)}"]


METHOD = CenterOffset
