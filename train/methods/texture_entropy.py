"""Texture entropy: the texture of the predicted label map must match that of the true one.

    trocar train texture-entropy DATA --out runs/texture

Source: a patent of Beijing 7invensun Technology, 2018. The grey value of each pixel's class makes a
texture of a label map; its feature is the entropy of the grey-level co-occurrence matrix (GLCM).

Equation: ``L = w_texture · |E(ŷ) − E(y)| + w_label · CE(f(x), y) + w_dice · (1 − Dice(f(x), y))``,
per image, then the batch mean, with ``E = mean_d −Σ P_d ln P_d`` and ``P_d`` the symmetric,
normalised GLCM at offset ``d`` (distance 1; 0, 45, 90 and 135°; rows go down). Training runs a
preset number of epochs (--epochs).

Departures and decisions:
- Arg-max has no gradient, so a straight-through estimator is used: the value is the entropy of the
  arg-max labels, the gradient that of the soft GLCM's entropy. ``soft`` uses the soft entropy as
  the value too; it is too high while predictions are unsure.
- Grey values come from the class table; classes of equal grey value are merged. The entropy depends
  only on which classes differ, so K x K matrices replace 256 x 256 ones.
- Dice is not in the patent. `supervised` has it, and a method must not lose by leaving it out;
  ``w_dice = 0`` is the patent's loss.
- Entropy does not depend on where a class is, so ``w_label = 0`` is refused.
- The term starts half-way and has weight 0.02. At weight 1 its gradient is several times that of
  the label term and perpendicular to it (benchmarks/results/methods_notes.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from trocar.contract.config import require
from trocar.contract.manifest import Manifest
from trocar.train.data.loader.segmentation import frames_stream
from trocar.train.losses.by_name import SupervisionConfig, loss_weights, supervised_terms
from trocar.train.losses.supervision_and_texture import manifest_of, normalised, texture_difference
from trocar.train.methods.protocol import Batch, BatchSource, ModelSpec, Progress, TrainData
from trocar.train.metrics.evaluate import draw_segmentation, evaluate_segmentation
from trocar.train.networks.architectures import make_network
from trocar.train.networks.segmentation import finish_statistics


@dataclass(frozen=True, kw_only=True)
class TextureEntropyConfig(SupervisionConfig):
    """Texture entropy.

    Attributes:
        w_texture: Weight of the texture entropy difference.
        w_label: Weight of the per-pixel class difference: cross-entropy, or what loss names.
        w_dice: Weight of the Dice loss, where loss names none; the patent has none.
        texture_mode: Entropy of a prediction: straight_through or soft.
        texture_distance: Distance in pixels between the two pixels of a pair.
        texture_from: Share of training, at the beginning, on labels alone.
    """

    w_texture: float = 0.02
    w_label: float = 1.0
    w_dice: float = 1.0
    texture_mode: Literal["straight_through", "soft"] = "straight_through"
    texture_distance: int = 1
    texture_from: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            (self.w_texture > 0, "w_texture must be above 0: without it this is `supervised`"),
            (self.w_label > 0, "w_label must be above 0: entropy says nothing of where a class is"),
            (self.w_dice >= 0, "w_dice must be 0 or more"),
            (self.texture_distance >= 1, "texture_distance must be 1 or more"),
            (0 <= self.texture_from < 1, "texture_from must be at least 0 and below 1"),
        )


class TextureEntropy:
    """See the module."""

    name = "texture-entropy"
    task = "segmentation"
    Config = TextureEntropyConfig
    required_data = ()
    optional_data = ()
    monitor = "iou_mean"

    def __init__(self, config: TextureEntropyConfig) -> None:
        self.config = config
        self.logged: dict[str, Tensor | float] = {}
        self.notes: list[str] = []

    def streams(self, data: TrainData) -> Mapping[str, BatchSource]:
        """Images with their standard segmentation."""
        self.labelled = frames_stream(data, data.labelled, size=self.config.size, name="labelled")
        return {"labelled": self.labelled}

    def build(self, spec: ModelSpec) -> nn.Module:
        """The network itself."""
        self.spec = spec
        network: nn.Module = make_network(self.config, classes=len(spec.classes), input=spec.input)
        self.network = network
        return network

    def losses(self, batch: Mapping[str, Batch], progress: Progress) -> dict[str, Tensor]:
        """``texture``, the texture difference, ``label``, the per-pixel class one, and ``dice``."""
        standard = batch["labelled"]["mask"]
        training = self.network(batch["labelled"]["image"])
        difference = texture_difference(
            training,
            standard,
            self.spec.classes,
            mode=self.config.texture_mode,
            distance=self.config.texture_distance,
        )
        self.logged = {"texture_normalised": normalised(difference, len(self.spec.classes))}
        named = supervised_terms(
            training, standard, self.config, loss_weights(self.config, {"ce": 1.0})
        )
        label = self.config.w_label * torch.stack(list(named.values())).sum()
        terms = {"label": label}
        if self.config.w_dice and not self.config.loss:
            weight = {"dice": self.config.w_dice}
            terms |= supervised_terms(training, standard, self.config, weight)
        if progress.step >= self.config.texture_from * progress.total_steps:
            terms["texture"] = self.config.w_texture * difference.mean()
        return terms

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


METHOD = TextureEntropy
