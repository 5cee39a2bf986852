"""Cross-consistency: a few labelled frames, many without labels, one encoder and many decoders.

    trocar train cross-consistency LABELLED --unlabelled DIR --out runs/consistent

Source: a patent of the Shenzhen Institutes of Advanced Technology, 2021, on DeepLabV3+.

Equation: ``z = enc(x)``, ``p = softmax D(z)``, ``p^k = softmax D_k(π_k(z))``;
``L₁ = mean_x mean_k MSE(p^k, stopgrad p)``, ``L₂ = mean CE(D(z), y) + w_dice · (1 − Dice)``,
``L₃ = L₂ + w(t) · L₁`` with ``w(t) = w_max · e^{−5 (1 − min(t / T_r, 1))²}`` and ``t`` counted from
the end of a first phase, which trains on labelled frames alone.

Departures and decisions, with figures in benchmarks/results/methods_notes.md:
- ``z`` is taken after the ASPP, which all decoders share; of other architectures it is the
  encoder's stages. The stride-4 skip is perturbed too
  (``aux_skip = none`` sets it to zero); a clean skip would carry the details past the perturbation,
  and L₁ would be nearly 0.
- Auxiliary decoders start as copies of the main one when the first phase ends. They then disagree
  because of the perturbations, not because they are untrained.
- Dice in L₂ is ours: without it the method loses to `supervised`, which has it.
- ``w_max`` is 3.75 times the number of classes, because L₁ is a mean over classes; the patent's 30
  is for 21 of them. 7.5 for two classes and 15 for four scored higher than 3 and 6.
- VAT moves the features where the *auxiliary* decoder's output changes most, as published.
- Guided masking takes the classes that the class table calls instruments for the objects.
- Pixels that augmentation brought in from outside of a frame take no part in L₁.
- Labelled and unlabelled images pass one after the other. In one batch they would share BatchNorm's
  statistics, from which a network learns to tell labelled frames from all others.
- The main decoder gets no gradient from L₁ (stopgrad); the encoder does.
- Poisson image editing of the training frames is ``composite``, which the recipe switches on, or
  `trocar data composite` beforehand.
- Only encoder, ASPP and main decoder are deployed.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from trocar.contract.config import require, unknown
from trocar.contract.manifest import Manifest
from trocar.train.data.loader.segmentation import frames_stream
from trocar.train.data.views.inside import inside_of
from trocar.train.losses.segmentation import ramp_up
from trocar.train.losses.supervision_and_texture import (
    SegmentationConfig,
    manifest_of,
    supervision,
    texture,
)
from trocar.train.methods.protocol import Batch, BatchSource, ModelSpec, Progress, TrainData
from trocar.train.metrics.evaluate import draw_segmentation, evaluate_segmentation
from trocar.train.networks.architectures import make_network
from trocar.train.networks.perturbations import PERTURBATIONS, Box, MainOutput, boxes_of
from trocar.train.networks.segmentation import Features, finish_statistics, freeze_as_configured

WEIGHT_PER_CLASS = 3.75


@dataclass(frozen=True, kw_only=True)
class CrossConsistencyConfig(SegmentationConfig):
    """Cross-consistency.

    Attributes:
        w_consistency: Maximum weight w_max of the consistency loss L₁; by default 3.75 times the
            number of classes, because L₁ is a mean over classes.
        supervised_fraction: Share of training, at the beginning, on labelled frames alone.
        rampup_fraction: Share of training over which the weight of L₁ rises after that.
        consistency_on: Frames in L₁: all, or unlabelled ones only.
        perturbations: Kinds of perturbation, one auxiliary decoder for each; a kind can be named
            twice.
        aux_skip: Skips of auxiliary decoders: perturbed, or none (zeros).
        vat_decoder: Decoder whose output the perturbation vat changes most: auxiliary, the one
            that gets the features, or main.
    """

    w_consistency: float | None = None
    supervised_fraction: float = 0.4
    rampup_fraction: float = 0.1
    consistency_on: Literal["all", "unlabelled"] = "all"
    perturbations: tuple[str, ...] = tuple(PERTURBATIONS)
    aux_skip: Literal["perturbed", "none"] = "perturbed"
    vat_decoder: Literal["auxiliary", "main"] = "auxiliary"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            (
                self.w_consistency is None or self.w_consistency > 0,
                "w_consistency must be above 0: nothing else learns from unlabelled frames",
            ),
            (
                0 <= self.supervised_fraction < 1,
                "supervised_fraction must be at least 0 and below 1",
            ),
            (0 < self.rampup_fraction <= 1, "rampup_fraction must be above 0, at most 1"),
            (bool(self.perturbations), "perturbations is empty: name at least one"),
            *(
                (kind in PERTURBATIONS, f"perturbation {unknown(kind, PERTURBATIONS)}")
                for kind in self.perturbations
            ),
        )


class SharedEncoderDecoders(nn.Module):
    """The main network, and auxiliary decoders on the same encoder.

    Args:
        config: See `CrossConsistencyConfig`.
        spec: Classes and input.
    """

    def __init__(self, config: CrossConsistencyConfig, spec: ModelSpec) -> None:
        super().__init__()
        classes = len(spec.classes)
        self.main = make_network(config, classes=classes, input=spec.input)
        self.kinds = config.perturbations
        self.auxiliary = nn.ModuleList(copy.deepcopy(self.main.decoder) for _ in self.kinds)
        self.zero_skip = config.aux_skip == "none"
        self.attacks_main = config.vat_decoder == "main"
        self.instruments = spec.classes.instrument_ids or None

    def train(self, mode: bool = True) -> SharedEncoderDecoders:
        """Sets the mode; frozen batch normalisation stays frozen in all decoders."""
        super().train(mode)
        freeze_as_configured(self.main.config, encoder=(), rest=self.auxiliary)
        return self

    def init_aux_decoders(self) -> None:
        """Copies weights and statistics of the main decoder into every auxiliary one."""
        for decoder in self.auxiliary:
            decoder.load_state_dict(self.main.decoder.state_dict())

    def cutout_boxes(self, *logits: Tensor) -> list[list[list[Box]] | None]:
        """Boxes of the objects in the images of each logits [B,K,h,w], for guided-cutout.

        The regions are found on the host. All are read at once, so that a step waits once for them;
        ``None`` where no decoder needs them.
        """
        if "guided-cutout" not in self.kinds:
            return [None] * len(logits)
        objects = [
            MainOutput(self.main.decoder, one.detach().float().softmax(dim=1), self.instruments)
            for one in logits
        ]
        boxes = iter(boxes_of(torch.cat([main.objects for main in objects])))
        return [list(itertools.islice(boxes, len(one))) for one in logits]

    def consistency_mse(
        self,
        features: Features,
        logits: Tensor,
        inside: Tensor | None = None,
        boxes: list[list[Box]] | None = None,
    ) -> Tensor:
        """MSE of auxiliary to main probabilities, mean over decoders: [B]; L₁ is its mean.

        Args:
            features: Shared features and skip of the images.
            logits: The main decoder's logits [B,K,h,w] for them; no gradient flows into these.
            inside: [B,h,w], 0 for pixels that augmentation brought in; ``None`` for none of them.
            boxes: See `cutout_boxes`; ``None`` finds them.
        """
        probability = logits.detach().float().softmax(dim=1)
        inside = torch.ones_like(probability[:, 0]) if inside is None else inside
        counted = inside.sum(dim=(1, 2)).clamp_min(1)
        errors = []
        for kind, decoder in zip(self.kinds, self.auxiliary, strict=True):
            attacked = self.main.decoder if self.attacks_main else decoder
            main = MainOutput(attacked, probability, self.instruments, boxes)
            deep, *skips = PERTURBATIONS[kind](features, main)
            if self.zero_skip:
                skips = [torch.zeros_like(skip) for skip in skips]
            output = decoder((deep, *skips)).float().softmax(dim=1)
            squared = (output - probability).square().mean(dim=1)
            errors.append((squared * inside).sum(dim=(1, 2)) / counted)
        return torch.stack(errors).mean(dim=0)


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
        self.notes: list[str] = []

    def streams(self, data: TrainData) -> Mapping[str, BatchSource]:
        """Labelled frames (the patent's second images) and unlabelled ones (its first images)."""
        size = self.config.size
        self.labelled = frames_stream(data, data.labelled, size=size, name="labelled")
        return {
            "labelled": self.labelled,
            "unlabelled": frames_stream(
                data, data.unlabelled, size=size, name="unlabelled", labelled=False
            ),
        }

    def build(self, spec: ModelSpec) -> nn.Module:
        """Encoder, main decoder and auxiliary decoders."""
        self.spec = spec
        self.decoders = SharedEncoderDecoders(self.config, spec)
        # Without a first phase consistency begins at once, so the copies are needed here as well.
        self.decoders.init_aux_decoders()
        return self.decoders

    def losses(self, batch: Mapping[str, Batch], progress: Progress) -> dict[str, Tensor]:
        """``ce`` and ``dice`` (L₂) and, after the supervised phase, ``consistency`` (L₁)."""
        labelled, main = batch["labelled"], self.decoders.main
        weight = self.consistency_weight(progress)
        self.logged = {"consistency_weight": weight}
        labelled_features = main.encode(labelled["image"])
        logits, mask = main.decode(labelled_features), labelled["mask"]
        terms = {
            **supervision(logits, mask, self.config),
            **texture(logits, mask, self.spec.classes, self.config, progress),
        }
        if not self.in_supervised_phase(progress):
            # A forward pass of its own keeps BatchNorm's statistics apart, see the module.
            unlabelled_features = main.encode(batch["unlabelled"]["image"])
            unlabelled_logits = main.decode(unlabelled_features)
            consistency = self.decoders.consistency_mse
            inside = inside_of(batch["unlabelled"])
            shown = [unlabelled_logits, *([logits] if self.config.consistency_on == "all" else [])]
            boxes = self.decoders.cutout_boxes(*shown)
            errors = [consistency(unlabelled_features, unlabelled_logits, inside, boxes[0])]
            if self.config.consistency_on == "all":
                errors.append(consistency(labelled_features, logits, inside_of(labelled), boxes[1]))
            terms["consistency"] = weight * torch.cat(errors).mean()
        return terms

    def in_supervised_phase(self, progress: Progress) -> bool:
        """Whether the step is in the first phase, on labelled frames alone."""
        return progress.step < self.config.supervised_fraction * progress.total_steps

    def consistency_weight(self, progress: Progress) -> float:
        """``w(t)``; 0 in the supervised phase."""
        if self.in_supervised_phase(progress):
            return 0.0
        since = progress.step - self.config.supervised_fraction * progress.total_steps
        length = self.config.rampup_fraction * progress.total_steps
        return self.max_weight * ramp_up(since, length)

    @property
    def max_weight(self) -> float:
        """``w_max``."""
        given = self.config.w_consistency
        return WEIGHT_PER_CLASS * len(self.spec.classes) if given is None else given

    def after_step(self, progress: Progress) -> None:
        """Copies the main decoder when the supervised phase ends; at the end, the statistics."""
        if self.config.bn_batches:
            finish_statistics(
                self.decoders.main, self.labelled, progress, batches=self.config.bn_batches
            )
        following = replace(progress, step=progress.step + 1)
        if self.in_supervised_phase(progress) and not self.in_supervised_phase(following):
            self.decoders.init_aux_decoders()

    def evaluate(self, data: TrainData) -> dict[str, float]:
        """Scores of the main network, see `trocar.train.metrics.segmentation`."""
        return evaluate_segmentation(self.decoders.main, data.validation, size=self.config.size)

    def save_predictions(self, data: TrainData, path: Path) -> None:
        """Frames, labels and predictions."""
        draw_segmentation(self.decoders.main, data.validation, path, size=self.config.size)

    def deployable(self) -> tuple[nn.Module, Manifest]:
        """The main network."""
        return self.decoders.main, manifest_of(self.spec, method=self.name)


METHOD = CrossConsistency
