"""Uncertainty-aware mean teacher: from labelled source frames to an unlabelled target domain.

    trocar train mean-teacher SOURCE --target TARGET --out runs/adapted

Source: SenseTime, CN111489365A, 2020.

Equation: ``L = L_seg(student(style(x_s → x_t)), y_s) + λ(t) · L_con`` with
``L_con = Σ m ‖p_S − p_T‖² / (K Σ m + 1e-16)``, ``p_S = student(x_t + ξ)``,
``p_T = teacher(x_t + ξ')``, reliability ``m`` from the teacher's uncertainty
``U = −Σ_c p̄_c ln(p̄_c + 1e-6)``: hard ``m = 1[U < H(t)]`` with
``H(t) = (0.75 + 0.25 ramp(t / T)) ln K``, or soft ``m = e^{−U}``; ``λ(t) = λ_max ramp(t / t_r)``,
``ramp(s) = e^{−5 (1 − min(s, 1))²}``. After each step
``teacher ← α_t teacher + (1 − α_t) student`` with ``α_t = min(1 − 1/(t+1), α, 1 − 20/T)``.

Departures and decisions:
- The noise ``ξ = clip(N(0, 0.1²), ±0.2)`` is meant for images in 0..1: raw grey levels times 255.
- ``L_seg`` is cross-entropy and Dice, as in `supervised`, its baseline.
- BatchNorm's buffers are averaged too. They hold statistics of clean images, as deployment has
  them, of both domains; noised views go by their own. When noise entered them, it cost 4 to 8
  points on the frames of one operation, with consistency and without (docs/methods.md).
- ``λ_max`` is 1: at 10 a run of some hundred steps agrees with itself on background, student and
  teacher alike, and the more so with the target's statistics alone in BatchNorm (docs/methods.md).
- Colours are transferred by Reinhard's means and deviations: Fourier's window, which the design
  names first, holds nothing but the mean colour below 100 pixels, and did worse (docs/methods.md).
- ``1 − 20/T`` is ours: the teacher averages over a twentieth of the run at most. With α alone the
  teacher of a run of 200 steps lags by half of it, and is 2 to 6 points worse (docs/methods.md).
- The teacher is the deployed network.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from trocar.contract.config import require
from trocar.contract.errors import ConfigError
from trocar.contract.manifest import Manifest
from trocar.train.data.loader.segmentation import frames_stream
from trocar.train.data.style import Style, make_style, transferred_frames
from trocar.train.losses.segmentation import ramp_up
from trocar.train.losses.supervision_and_texture import (
    SegmentationConfig,
    manifest_of,
    supervision,
    texture,
)
from trocar.train.methods.protocol import Batch, BatchSource, ModelSpec, Progress, TrainData
from trocar.train.metrics.evaluate import draw_segmentation, evaluate_segmentation
from trocar.train.networks.mean_teacher_pair import StudentTeacher, own_statistics
from trocar.train.networks.segmentation import Segmenter

WINDOW = 0.05
"""The share of the run that the teacher averages over at most: the student is still learning."""


@dataclass(frozen=True, kw_only=True)
class MeanTeacherConfig(SegmentationConfig):
    """Uncertainty-aware mean teacher.

    Attributes:
        w_consistency: Largest weight λ_max of the consistency loss.
        ramp: Share of training over which that weight rises.
        reliability: hard counts pixels below a rising threshold of uncertainty; soft weighs all.
        passes: Monte-Carlo passes of the teacher with dropout; 1 is one plain pass.
        ema: Largest share α that the teacher keeps of itself; 0.999 suits runs of many thousands
            of steps. A short run keeps less, see `WINDOW`.
        noise: Deviation of the noise on images in 0..1; cut off at twice that.
        style: reinhard, fourier, histogram, none, or a folder of source frames transferred before.
        beta: Half-size of Fourier's window as a share of the image's shorter side.
    """

    w_consistency: float = 1.0
    ramp: float = 0.4
    reliability: Literal["hard", "soft"] = "hard"
    passes: int = 1
    ema: float = 0.99
    noise: float = 0.1
    style: str = "reinhard"
    beta: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            (
                self.w_consistency > 0,
                "w_consistency must be above 0: without it nothing is learnt from the target",
            ),
            (0 < self.ramp <= 1, "ramp must be above 0, at most 1"),
            (self.passes >= 1, "passes must be 1 or more"),
            (0 <= self.ema < 1, "ema must be at least 0 and below 1"),
            (self.noise > 0, "noise must be above 0: the two views would be one"),
            (
                self.passes == 1 or self.dropout > 0,
                "passes above 1 need dropout above 0: they would all be equal",
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
        named = config.style in get_args(Style)
        self.folder = None if named or not Path(config.style).is_dir() else Path(config.style)
        if not named and self.folder is None and any(c in config.style for c in "/\\."):
            raise ConfigError(
                f"there is no folder {config.style} of transferred frames",
                remedy=f"name one, or choose {', '.join(get_args(Style))}",
            )
        self.style = make_style("none" if self.folder else config.style, beta=config.beta)

    def streams(self, data: TrainData) -> Mapping[str, BatchSource]:
        """Source frames with labels, target frames without."""
        source = data.labelled
        if self.folder is not None:
            source = transferred_frames(source, self.folder)
        size = self.config.size
        return {
            "source": frames_stream(data, source, size=size, name="source"),
            "target": frames_stream(data, data.target, size=size, name="target", labelled=False),
        }

    def build(self, spec: ModelSpec) -> nn.Module:
        """Student and teacher."""
        self.spec = spec
        self.classes = len(spec.classes)
        self.pair = StudentTeacher(Segmenter(self.config, classes=self.classes, input=spec.input))
        return self.pair

    def losses(self, batch: Mapping[str, Batch], progress: Progress) -> dict[str, Tensor]:
        """``ce`` and ``dice`` on the transferred source, ``consistency`` on the target."""
        source, target = batch["source"], batch["target"]["image"]
        transferred = self.style(source["image"], target)
        on_source = self.pair.student(transferred)
        if self.config.batch_norm == "train":
            self.pair.observe(target)
        with own_statistics(self.pair.student):
            first_view = self.pair.student(self.noised(target)).float().softmax(dim=1)
        teacher = self.pair.judge([self.noised(target) for _ in range(self.config.passes)])
        reliability = self.reliability(teacher, progress)
        weight = self.consistency_weight(progress)
        self.logged = {
            "consistency_weight": weight,
            "reliable_share": reliability.mean(),
        }
        return {
            **supervision(on_source, source["mask"], self.config),
            **texture(on_source, source["mask"], self.spec.classes, self.config),
            "consistency": weight * consistency(first_view, teacher, reliability),
        }

    def noised(self, image: Tensor) -> Tensor:
        """A view of raw images under noise of its own."""
        limit = 2 * self.config.noise
        noise = (torch.randn_like(image) * self.config.noise).clamp(-limit, limit)
        return image + 255 * noise

    def reliability(self, teacher: Tensor, progress: Progress) -> Tensor:
        """Reliability of each pixel, 0..1 [B,h,w], from the teacher's probabilities [B,K,h,w]."""
        doubt = uncertainty(teacher)
        if self.config.reliability == "soft":
            return torch.exp(-doubt)
        return (doubt < self.threshold(progress)).float()

    def threshold(self, progress: Progress) -> float:
        """``H(t)``: the uncertainty below which a pixel counts, up to ``ln K``."""
        share = 0.75 + 0.25 * ramp_up(progress.step, progress.total_steps)
        return share * math.log(self.classes)

    def consistency_weight(self, progress: Progress) -> float:
        """``λ(t)``, from the current step."""
        length = self.config.ramp * progress.total_steps
        return self.config.w_consistency * ramp_up(progress.step, length)

    def kept(self, progress: Progress) -> float:
        """``α_t``: the share that the teacher keeps of itself."""
        length = max(WINDOW * progress.total_steps, 1)
        return min(1 - 1 / (progress.step + 1), self.config.ema, 1 - 1 / length)

    def after_step(self, progress: Progress) -> None:
        """The teacher takes over a share of the updated student."""
        self.pair.average(self.kept(progress))

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


def consistency(student: Tensor, teacher: Tensor, reliability: Tensor) -> Tensor:
    """``Σ m ‖p_S − p_T‖² / (K Σ m + 1e-16)``; nothing flows into the teacher or the reliability."""
    squared = (student - teacher.detach()).square().sum(dim=1)
    weight = reliability.detach()
    return (weight * squared).sum() / (student.shape[1] * weight.sum() + 1e-16)


METHOD = MeanTeacher
