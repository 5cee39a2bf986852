"""Plain supervised segmentation: cross-entropy and Dice on labelled frames.

    trocar train supervised DATA --out runs/first

Equation: ``L = w_ce · CE(f(x), y) + w_dice · (1 − Dice(softmax f(x), y))``, both per image, then
the batch mean. Source: the usual pair for instruments; Dice after Milletari et al., 2016. It is the
baseline that the other segmentation methods are compared with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from trocar.contract.config import require
from trocar.contract.manifest import Manifest
from trocar.train import losses
from trocar.train.evaluation import draw_segmentation, evaluate_segmentation
from trocar.train.methods.protocol import Batch, BatchSource, Contract, Progress, TrainData
from trocar.train.networks.segmentation import NetworkConfig, Segmenter
from trocar.train.streams import frames_stream


@dataclass(frozen=True, kw_only=True)
class SupervisedConfig(NetworkConfig):
    """Supervised segmentation.

    Attributes:
        w_ce: Weight of the cross-entropy.
        w_dice: Weight of the Dice loss.
    """

    w_ce: float = 1.0
    w_dice: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            (self.w_ce >= 0, "w_ce must be 0 or more"),
            (self.w_dice >= 0, "w_dice must be 0 or more"),
            (self.w_ce + self.w_dice > 0, "w_ce and w_dice are both 0: nothing would be trained"),
        )


class Supervised:
    """See the module."""

    name = "supervised"
    task = "segmentation"
    Config = SupervisedConfig
    needs = ()
    takes = ()
    best = "iou_mean"

    def __init__(self, config: SupervisedConfig) -> None:
        self.config = config

    def streams(self, data: TrainData) -> Mapping[str, BatchSource]:
        """Labelled frames."""
        return {
            "labelled": frames_stream(data, data.labelled, size=self.config.size, name="labelled")
        }

    def build(self, contract: Contract) -> nn.Module:
        """The network itself."""
        self.contract = contract
        self.network = Segmenter(self.config, classes=len(contract.classes), input=contract.input)
        return self.network

    def losses(self, batch: Mapping[str, Batch], progress: Progress) -> dict[str, Tensor]:
        """``ce`` and ``dice``."""
        labelled = batch["labelled"]
        logits = self.network(labelled["image"])
        named = {
            "ce": (self.config.w_ce, losses.cross_entropy),
            "dice": (self.config.w_dice, losses.dice),
        }
        return {
            name: weight * loss(logits, labelled["mask"]).mean()
            for name, (weight, loss) in named.items()
            if weight
        }

    def after_step(self, progress: Progress) -> None:
        """Nothing to do."""

    def evaluate(self, data: TrainData) -> dict[str, float]:
        """See `trocar.train.metrics`."""
        return evaluate_segmentation(self.network, data.validation, size=self.config.size)

    def draw(self, data: TrainData, path: Path) -> None:
        """Frames, labels and predictions."""
        draw_segmentation(self.network, data.validation, path, size=self.config.size)

    def deployable(self) -> tuple[nn.Module, Manifest]:
        """The network."""
        return self.network, manifest_of(self.contract, method=self.name)


def manifest_of(contract: Contract, *, method: str) -> Manifest:
    """A segmentation model's manifest, before export."""
    return Manifest(
        name=contract.name,
        task="segmentation",
        method=method,
        classes=contract.classes,
        input=contract.input,
    )


METHOD = Supervised
