"""Cross-consistency: a few labelled frames, many without labels, one encoder and many decoders.

    trocar train cross-consistency LABELLED --unlabelled DIR --out runs/consistent

Source: a patent of the Shenzhen Institutes of Advanced Technology, 2021, on DeepLabV3+.

Equation: ``z = enc(x)``, ``p = softmax D(z)``, ``p^k = softmax D_k(π_k(z))``;
``L₁ = mean_x mean_k MSE(p^k, stopgrad p)``, ``L₂ = mean CE(D(z), y)``,
``L₃ = L₂ + w(t) · L₁`` with ``w(t) = w_max · e^{−5 (1 − min(t / T_r, 1))²}`` and ``t`` counted from
the end of a first phase that trains on labelled frames alone.

Departures and decisions:
- ``z`` is taken after the ASPP, which all decoders share, and the stride-4 skip is perturbed too
  (``aux_skip = none`` leaves it out): else clean detail passes by the perturbation and L₁ is ~0.
- Auxiliary decoders start as copies of the main one when the first phase ends: what they disagree
  on is then the perturbation's work. Fresh ones would fill the encoder with their own ignorance.
- ``w_max`` is 7.5 where 30 is published. That goes with 21 classes, and L₁ is a mean over classes:
  3 would be as strong for two. 7.5 for two, or 15 for four, did better (docs/methods.md).
- Labelled and unlabelled images pass one after the other. In one batch they share BatchNorm's
  statistics, by which a network learns to tell the few labelled frames from all others: it answers
  those and is unsure of the rest, consistent or not (docs/methods.md).
- The main decoder gets no gradient from L₁ (stopgrad), the encoder does.
- Poisson image editing of the training frames is `trocar data composite`.
- Only encoder, ASPP and main decoder are deployed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from trocar.contract.config import require, unknown
from trocar.contract.manifest import Manifest
from trocar.train.data.loader.segmentation import frames_stream
from trocar.train.losses.segmentation import ramp_up
from trocar.train.losses.supervision_and_texture import (
    SegmentationConfig,
    manifest_of,
    supervision,
    texture,
)
from trocar.train.methods.protocol import Batch, BatchSource, ModelSpec, Progress, TrainData
from trocar.train.metrics.evaluate import draw_segmentation, evaluate_segmentation
from trocar.train.networks.perturbations import PERTURBATIONS, Main
from trocar.train.networks.segmentation import Decoder, Features, Segmenter


@dataclass(frozen=True, kw_only=True)
class CrossConsistencyConfig(SegmentationConfig):
    """Cross-consistency.

    Attributes:
        w_dice: Weight of the Dice loss; the patent has none.
        w_consistency: Largest weight w_max of the consistency loss L₁.
        pretrain: Share of training on labelled frames alone, at the beginning.
        ramp: Share of training over which the weight of L₁ rises after that.
        consistency_on: Whether labelled frames take part in L₁ too: all or unlabelled.
        perturbations: One auxiliary decoder each; a kind named twice gets two.
        aux_skip: Whether auxiliary decoders get the stride-4 skip perturbed, or none of it.
    """

    w_dice: float = 0.0
    w_consistency: float = 7.5
    pretrain: float = 0.4
    ramp: float = 0.1
    consistency_on: Literal["all", "unlabelled"] = "all"
    perturbations: tuple[str, ...] = tuple(PERTURBATIONS)
    aux_skip: Literal["perturbed", "none"] = "perturbed"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            (
                self.w_consistency > 0,
                "w_consistency must be above 0: nothing else learns from unlabelled frames",
            ),
            (0 <= self.pretrain < 1, "pretrain must be at least 0 and below 1"),
            (0 < self.ramp <= 1, "ramp must be above 0, at most 1"),
            (
                bool(self.perturbations),
                "perturbations is empty: name one auxiliary decoder at least",
            ),
            *(
                (kind in PERTURBATIONS, f"perturbation {unknown(kind, PERTURBATIONS)}")
                for kind in self.perturbations
            ),
        )


class Branches(nn.Module):
    """The main network and its auxiliary decoders.

    Args:
        config: See `CrossConsistencyConfig`.
        spec: Classes and input.
    """

    def __init__(self, config: CrossConsistencyConfig, spec: ModelSpec) -> None:
        super().__init__()
        classes = len(spec.classes)
        self.main = Segmenter(config, classes=classes, input=spec.input)
        self.kinds = config.perturbations
        self.auxiliary = nn.ModuleList(
            Decoder(
                skip_channels=self.main.skip_channels,
                channels=config.decoder_channels,
                classes=classes,
            )
            for _ in self.kinds
        )
        self.blind = config.aux_skip == "none"
        if config.batch_norm == "frozen":
            self.train()

    def train(self, mode: bool = True) -> Branches:
        """Sets the mode; the auxiliary decoders follow the main one in freezing BatchNorm."""
        super().train(mode)
        if self.main.frozen:
            for module in self.auxiliary.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def copy_main(self) -> None:
        """Gives every auxiliary decoder the main one's weights and statistics."""
        for decoder in self.auxiliary:
            decoder.load_state_dict(self.main.decoder.state_dict())

    def disagreement(self, features: Features, logits: Tensor) -> Tensor:
        """MSE of each auxiliary output to the main one, mean over decoders: [B]; L₁ is its mean."""
        main = Main(self.main.decoder, logits.detach().float().softmax(dim=1))
        distances = []
        for kind, decoder in zip(self.kinds, self.auxiliary, strict=True):
            deep, skip = PERTURBATIONS[kind](features, main)
            if self.blind:
                skip = torch.zeros_like(skip)
            output = decoder((deep, skip)).float().softmax(dim=1)
            distances.append((output - main.probability).square().mean(dim=(1, 2, 3)))
        return torch.stack(distances).mean(dim=0)


class CrossConsistency:
    """See the module."""

    name = "cross-consistency"
    task = "segmentation"
    Config = CrossConsistencyConfig
    required_data = ("unlabelled",)
    optional_data = ()
    monitor = "iou_mean"

    def __init__(self, config: CrossConsistencyConfig) -> None:
        self.config = config
        self.logged: dict[str, Tensor | float] = {}

    def streams(self, data: TrainData) -> Mapping[str, BatchSource]:
        """Labelled frames (the second images) and unlabelled ones (the first images)."""
        size = self.config.size
        return {
            "labelled": frames_stream(data, data.labelled, size=size, name="labelled"),
            "unlabelled": frames_stream(
                data, data.unlabelled, size=size, name="unlabelled", labelled=False
            ),
        }

    def build(self, spec: ModelSpec) -> nn.Module:
        """Encoder, ASPP, main decoder and auxiliary decoders."""
        self.spec = spec
        self.branches = Branches(self.config, spec)
        self.branches.copy_main()
        return self.branches

    def losses(self, batch: Mapping[str, Batch], progress: Progress) -> dict[str, Tensor]:
        """``ce`` (L₂) and, once labelled pre-training is over, ``consistency`` (L₁)."""
        labelled, main = batch["labelled"], self.branches.main
        weight = self.consistency_weight(progress)
        self.logged = {"consistency_weight": weight}
        second = main.encode(labelled["image"])
        logits, mask = main.decode(second), labelled["mask"]
        terms = {
            **supervision(logits, mask, self.config),
            **texture(logits, mask, self.spec.classes, self.config),
        }
        if weight:
            # A pass of its own: see the module.
            first = main.encode(batch["unlabelled"]["image"])
            apart = [self.branches.disagreement(first, main.decode(first))]
            if self.config.consistency_on == "all":
                apart.append(self.branches.disagreement(second, logits))
            terms["consistency"] = weight * torch.cat(apart).mean()
        return terms

    def consistency_weight(self, progress: Progress) -> float:
        """``w(t)``; 0 while only labelled frames are trained on."""
        since = progress.step - self.config.pretrain * progress.total_steps
        if since < 0:
            return 0.0
        return self.config.w_consistency * ramp_up(since, self.config.ramp * progress.total_steps)

    def after_step(self, progress: Progress) -> None:
        """At the end of the first phase the auxiliary decoders become copies of the main one."""
        following = replace(progress, step=progress.step + 1)
        if not self.consistency_weight(progress) and self.consistency_weight(following):
            self.branches.copy_main()

    def evaluate(self, data: TrainData) -> dict[str, float]:
        """Scores of the main network, see `trocar.train.metrics.segmentation`."""
        return evaluate_segmentation(self.branches.main, data.validation, size=self.config.size)

    def save_predictions(self, data: TrainData, path: Path) -> None:
        """Frames, labels and predictions."""
        draw_segmentation(self.branches.main, data.validation, path, size=self.config.size)

    def deployable(self) -> tuple[nn.Module, Manifest]:
        """The main network: a plain DeepLabV3+."""
        return self.branches.main, manifest_of(self.spec, method=self.name)


METHOD = CrossConsistency
