"""Plain supervised segmentation: cross-entropy and Dice on labelled frames.

    trocar train supervised DATA --out runs/first

Equation: ``L = w_ce · CE(f(x), y) + w_dice · (1 − Dice(softmax f(x), y))``, both per image, then
the batch mean. Source: the usual pair for instruments; Dice after Milletari et al., 2016. The other
segmentation methods are compared with this baseline.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from trocar.contract.manifest import Manifest
from trocar.train.data.loader.segmentation import frames_stream
from trocar.train.losses.supervision_and_texture import (
    SegmentationConfig,
    manifest_of,
    supervision,
    texture,
)
from trocar.train.methods.protocol import Batch, BatchSource, ModelSpec, Progress, TrainData
from trocar.train.metrics.evaluate import draw_segmentation, evaluate_segmentation
from trocar.train.networks.architectures import make_network
from trocar.train.networks.segmentation import finish_statistics


class Supervised:
    """See the module."""

    name = "supervised"
    task = "segmentation"
    Config = SegmentationConfig
    required_data = ()
    optional_data = ()
    monitor = "iou_mean"

    def __init__(self, config: SegmentationConfig) -> None:
        self.config = config
        self.logged: dict[str, Tensor | float] = {}
        self.notes: list[str] = []

    def streams(self, data: TrainData) -> Mapping[str, BatchSource]:
        """Labelled frames."""
        self.labelled = frames_stream(data, data.labelled, size=self.config.size, name="labelled")
        return {"labelled": self.labelled}

    def build(self, spec: ModelSpec) -> nn.Module:
        """The network itself."""
        self.spec = spec
        network: nn.Module = make_network(self.config, classes=len(spec.classes), input=spec.input)
        self.network = network
        return network

    def losses(self, batch: Mapping[str, Batch], progress: Progress) -> dict[str, Tensor]:
        """``ce``, ``dice`` and, where asked for, ``texture``."""
        labelled = batch["labelled"]
        logits, mask = self.network(labelled["image"]), labelled["mask"]
        return {
            **supervision(logits, mask, self.config),
            **texture(logits, mask, self.spec.classes, self.config, progress),
        }

    def after_step(self, progress: Progress) -> None:
        """After the last step, BatchNorm's statistics; see `finish_statistics`."""
        if self.config.bn_batches:
            finish_statistics(self.network, self.labelled, progress, batches=self.config.bn_batches)

    def evaluate(self, data: TrainData) -> dict[str, float]:
        """See `trocar.train.metrics.segmentation`."""
        return evaluate_segmentation(self.network, data.validation, size=self.config.size)

    def save_predictions(self, data: TrainData, path: Path) -> None:
        """Frames, labels and predictions."""
        draw_segmentation(self.network, data.validation, path, size=self.config.size)

    def deployable(self) -> tuple[nn.Module, Manifest]:
        """The network."""
        return self.network, manifest_of(self.spec, method=self.name)


METHOD = Supervised
