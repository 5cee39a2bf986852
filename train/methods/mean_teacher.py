"""Uncertainty-aware mean teacher: from labelled source frames to an unlabelled target domain.

    trocar train mean-teacher SOURCE --target TARGET --out runs/adapted

Source: SenseTime, CN111489365A, 2020.

Equation: ``L = L_seg(student(style(x_s → x_t)), y_s) + λ(t) · L_con`` with
``L_con = Σ m ‖p_S − p_T‖² / (K Σ m + 1e-16)``, ``p_S = student(x_t + ξ)``,
``p_T = teacher(x_t + ξ')``, reliability ``m`` from the teacher's uncertainty
``U = −Σ_c p̄_c ln(p̄_c + 1e-6)``: hard ``m = 1[U < H(t)]`` with
``H(t) = (0.75 + 0.25 ramp(t / T)) ln K``, soft ``m = e^{−U}``, or the most certain pixels of an
image, of all classes together or of each; ``λ(t) = λ_max ramp(t / t_r)``,
``ramp(s) = e^{−5 (1 − min(s, 1))²}``. After each step
``teacher ← α_t teacher + (1 − α_t) student`` with ``α_t = min(1 − 1/(t+1), α, 1 − 20/T)``.

Departures and decisions, with figures in benchmarks/results/methods_notes.md:
- The noise ``ξ = clip(N(0, 0.1²), ±0.2)`` is defined for images in 0..1, so raw grey levels get 255
  times as much.
- ``L_seg`` is cross-entropy and Dice, as in `supervised`, the baseline.
- BatchNorm's running statistics are averaged into the teacher too. They come from clean images of
  both domains; noisy views are normalised by their own batch statistics.
- ``λ_max`` is 1. With 10, short runs collapse to background.
- Pixels that augmentation brought in from outside of a target frame take no part in ``L_con``.
- ``Σ m`` is that of all processes, so that the loss does not depend on their number.
- Colours are transferred by Reinhard's means and deviations. Fourier's window, named first in the
  patent, holds nothing but the mean colour of images below 100 pixels, and scored lower.
- ``1 − 20/T`` is ours: the teacher averages over the last twentieth of the run at most. With α
  alone, the teacher of a run of 200 steps lags behind by half of the run.
- The teacher is the deployed network.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from trocar.contract.config import require
from trocar.contract.errors import ConfigError
from trocar.contract.manifest import Manifest
from trocar.train.data.loader.segmentation import frames_stream
from trocar.train.data.style import MAX_RATIO, Style, make_style, transferred_frames
from trocar.train.data.views.inside import inside_of
from trocar.train.data.views.strong import strong_view
from trocar.train.losses.processes import mean_over_processes
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
from trocar.train.networks.mean_teacher_pair import StudentTeacher, batch_statistics
from trocar.train.networks.segmentation import finish_statistics, learns_statistics

MAX_EMA_WINDOW = 0.05
"""The teacher averages over this share of the run at most, because the student still learns."""


@dataclass(frozen=True, kw_only=True)
class MeanTeacherConfig(SegmentationConfig):
    """Uncertainty-aware mean teacher.

    Attributes:
        w_consistency: Maximum weight λ_max of the consistency loss.
        rampup_fraction: Share of training over which that weight rises.
        reliability: hard counts pixels below a rising threshold of uncertainty; soft weights all
            by their certainty; top counts the most certain pixels of each image, top-per-class
            those of each class that the teacher sees there.
        reliable_share: Share of the pixels that top and top-per-class count.
        mc_passes: Monte-Carlo passes of the teacher with dropout; 1 is one plain pass.
        ema_decay: Maximum share α that the teacher keeps of itself at a step; 0.999 suits runs of
            many thousand steps. Short runs use less.
        noise: Standard deviation of the noise on images in 0..1; cut off at twice that.
        teacher_noise: The same of the teacher's view; 0 shows clean images to the teacher.
        student_view: noise, or strong: also other colours, blur and a cut-out box.
        style: Colour transfer from target to source images.
        style_strength: Share of the colour change that is made, 0..1.
        style_probability: Probability that the colours of a source image are transferred.
        style_ratio: Largest factor on a colour channel's deviation in reinhard, 1 or more.
        style_folder: Source frames that were transferred beforehand, with the names of their
            originals; replaces style.
        beta: Half-size of Fourier's window as a share of the image's shorter side.
    """

    w_consistency: float = 1.0
    rampup_fraction: float = 0.4
    reliability: Literal["hard", "soft", "top", "top-per-class"] = "hard"
    reliable_share: float = 0.8
    mc_passes: int = 1
    ema_decay: float = 0.99
    noise: float = 0.1
    teacher_noise: float = 0.1
    student_view: Literal["noise", "strong"] = "noise"
    style: Style = "reinhard"
    style_strength: float = 1.0
    style_probability: float = 1.0
    style_ratio: float = MAX_RATIO
    style_folder: Path | None = None
    beta: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            (
                self.w_consistency > 0,
                "w_consistency must be above 0: without it nothing is learnt from the target",
            ),
            (0 < self.rampup_fraction <= 1, "rampup_fraction must be above 0, at most 1"),
            (self.mc_passes >= 1, "mc_passes must be 1 or more"),
            (0 <= self.ema_decay < 1, "ema_decay must be at least 0 and below 1"),
            (self.noise > 0, "noise must be above 0: without it both views are equal"),
            (self.teacher_noise >= 0, "teacher_noise must be 0 or more"),
            (0 < self.reliable_share <= 1, "reliable_share must be above 0, at most 1"),
            (0 <= self.style_strength <= 1, "style_strength must be 0..1"),
            (0 <= self.style_probability <= 1, "style_probability must be 0..1"),
            (self.style_ratio >= 1, "style_ratio must be 1 or more"),
            (
                self.mc_passes == 1 or self.dropout > 0,
                "mc_passes above 1 need dropout above 0: without it all passes are equal",
            ),
        )


class MeanTeacher:
    """See the module."""

    name = "mean-teacher"
    task = "segmentation"
    Config = MeanTeacherConfig
    required_data = ("target",)
    optional_data = ()
    monitor = "iou_mean"

    def __init__(self, config: MeanTeacherConfig) -> None:
        self.config = config
        self.logged: dict[str, Tensor | float] = {}
        self.notes: list[str] = []
        self.style = make_style(
            "none" if config.style_folder else config.style,
            beta=config.beta,
            max_ratio=config.style_ratio,
            strength=config.style_strength,
        )

    def streams(self, data: TrainData) -> Mapping[str, BatchSource]:
        """Source frames with labels, target frames without.

        Raises:
            ConfigError: The folder of transferred frames does not exist.
            DataError: It lacks a frame, see `trocar.train.data.style.transferred_frames`.
        """
        source, size, folder = data.labelled, self.config.size, self.config.style_folder
        if folder is not None:
            if not folder.is_dir():
                raise ConfigError(
                    f"there is no folder {folder} of transferred frames",
                    remedy="correct --style-folder, or use --style instead",
                )
            source = transferred_frames(source, folder)
        self.target = frames_stream(data, data.target, size=size, name="target", labelled=False)
        return {
            "source": frames_stream(data, source, size=size, name="source"),
            "target": self.target,
        }

    def build(self, spec: ModelSpec) -> nn.Module:
        """Student and teacher."""
        self.spec = spec
        self.classes = len(spec.classes)
        self.pair = StudentTeacher(
            make_network(self.config, classes=self.classes, input=spec.input)
        )
        return self.pair

    def losses(self, batch: Mapping[str, Batch], progress: Progress) -> dict[str, Tensor]:
        """``ce`` and ``dice`` on the transferred source, ``consistency`` on the target."""
        source, target = batch["source"], batch["target"]["image"]
        inside = inside_of(batch["target"])
        logits, mask = self.pair.student(self.restyled(source["image"], target)), source["mask"]
        if learns_statistics(self.config):
            # Deployment sees clean target images, so the running statistics have to as well. It
            # costs one forward pass of the student; noisy views would shift the statistics.
            self.pair.update_bn(target)
        with batch_statistics(self.pair.student):
            student = self.pair.student(self.first_view(target)).float().softmax(dim=1)
        teacher = self.pair.teacher_probabilities(
            [add_noise(target, self.config.teacher_noise) for _ in range(self.config.mc_passes)]
        )
        reliability = self.reliability(teacher, progress, inside) * inside
        weight = self.consistency_weight(progress)
        self.logged = {
            "consistency_weight": weight,
            "reliable_share": reliability.sum() / inside.sum().clamp_min(1),
        }
        return {
            **supervision(logits, mask, self.config),
            **texture(logits, mask, self.spec.classes, self.config, progress),
            "consistency": weight * consistency(student, teacher, reliability),
        }

    def restyled(self, source: Tensor, target: Tensor) -> Tensor:
        """Source images [B,3,h,w] 0..255, each with the target's colours by a probability."""
        styled = self.style(source, target)
        if self.config.style_probability == 1:
            return styled
        chosen = torch.rand(len(source), 1, 1, 1, device=source.device)
        return torch.where(chosen < self.config.style_probability, styled, source)

    def first_view(self, image: Tensor) -> Tensor:
        """What the student sees of target images [B,3,h,w] 0..255."""
        changed = strong_view(image) if self.config.student_view == "strong" else image
        return add_noise(changed, self.config.noise)

    def reliability(self, teacher: Tensor, progress: Progress, inside: Tensor) -> Tensor:
        """Reliability of each pixel, 0..1 [B,h,w].

        Args:
            teacher: The teacher's probabilities [B,K,h,w].
            progress: Where training stands.
            inside: [B,h,w], 0 for pixels that augmentation brought in; they are not ranked.
        """
        entropy, kind = uncertainty(teacher), self.config.reliability
        if kind == "soft":
            return torch.exp(-entropy)
        if kind == "hard":
            return (entropy < self.threshold(progress)).float()
        seen = teacher.argmax(dim=1) if kind == "top-per-class" else torch.zeros_like(entropy)
        return most_certain(entropy, seen.masked_fill(inside == 0, -1), self.config.reliable_share)

    def threshold(self, progress: Progress) -> float:
        """``H(t)``: the uncertainty below which a pixel counts, up to ``ln K``."""
        share = 0.75 + 0.25 * ramp_up(progress.step, progress.total_steps)
        return share * math.log(self.classes)

    def consistency_weight(self, progress: Progress) -> float:
        """``λ(t)`` at the current step."""
        length = self.config.rampup_fraction * progress.total_steps
        return self.config.w_consistency * ramp_up(progress.step, length)

    def ema_decay(self, progress: Progress) -> float:
        """``α_t``: the share that the teacher keeps of itself.

        A decay of ``1 − 1/n`` averages over about the last ``n`` steps: over all steps so far at
        the beginning, and never over more than `MAX_EMA_WINDOW` of the run.
        """
        steps_so_far = progress.step + 1
        window = max(MAX_EMA_WINDOW * progress.total_steps, 1)
        return min(1 - 1 / steps_so_far, self.config.ema_decay, 1 - 1 / window)

    def after_step(self, progress: Progress) -> None:
        """Moves the teacher towards the updated student; at the end, BatchNorm's statistics."""
        self.pair.update_ema(self.ema_decay(progress))
        if self.config.bn_batches:
            finish_statistics(
                self.pair.teacher, self.target, progress, batches=self.config.bn_batches
            )

    def evaluate(self, data: TrainData) -> dict[str, float]:
        """Scores of the teacher, see `trocar.train.metrics.segmentation`."""
        return evaluate_segmentation(self.pair.teacher, data.validation, size=self.config.size)

    def save_predictions(self, data: TrainData, path: Path) -> None:
        """Frames, labels and the teacher's predictions."""
        draw_segmentation(self.pair.teacher, data.validation, path, size=self.config.size)

    def deployable(self) -> tuple[nn.Module, Manifest]:
        """The teacher."""
        return self.pair.teacher, manifest_of(self.spec, method=self.name)


def uncertainty(probability: Tensor) -> Tensor:
    """Entropy of each pixel's class probabilities in nats: [B,K,h,w] to [B,h,w]."""
    return -(probability * torch.log(probability + 1e-6)).sum(dim=1)


def add_noise(image: Tensor, deviation: float) -> Tensor:
    """A view of raw images [B,3,h,w] 0..255 under newly drawn noise, cut off at 2 deviations."""
    limit = 2 * deviation
    noise = (torch.randn_like(image) * deviation).clamp(-limit, limit)
    return image + 255 * noise


def most_certain(entropy: Tensor, group: Tensor, share: float) -> Tensor:
    """1 for the most certain share of the pixels of each image and group, at least one of each.

    Args:
        entropy: [B,h,w].
        group: [B,h,w], e.g. classes; pixels of group −1 are not counted.
        share: Above 0, at most 1.
    """
    # Sorted by group, then by entropy; without a read to the host, which waits for the GPU.
    values, order = entropy.flatten(1).sort(dim=1, stable=True)
    groups, by_group = group.flatten(1).gather(1, order).sort(dim=1, stable=True)
    values = values.gather(1, by_group)
    places = torch.arange(values.shape[1], device=values.device).expand_as(groups)
    changes = groups[:, 1:] != groups[:, :-1]
    starts = functional.pad(changes, (1, 0), value=True)
    ends = functional.pad(changes, (0, 1), value=True)
    first = torch.where(starts, places, 0).cummax(dim=1).values
    last = torch.where(ends, places, places.shape[1]).flip(1).cummin(dim=1).values.flip(1)
    members = last - first + 1
    rank = (share * members.double()).ceil().long()
    limit = values.gather(1, first + rank - 1)
    best = ((values <= limit) & (groups >= 0)).to(entropy)
    chosen = torch.zeros_like(best)
    return chosen.scatter_(1, order.gather(1, by_group), best).view_as(entropy)


def consistency(student: Tensor, teacher: Tensor, reliability: Tensor) -> Tensor:
    """``Σ m ‖p_S − p_T‖² / (K Σ m + 1e-16)``; no gradient reaches the teacher or reliability.

    ``Σ m`` is the mean over all processes, so that their mean is the loss of the whole batch.
    """
    squared = (student - teacher.detach()).square().sum(dim=1)
    weight = reliability.detach()
    counted = mean_over_processes(weight.sum())
    return (weight * squared).sum() / (student.shape[1] * counted + 1e-16)


METHOD = MeanTeacher
