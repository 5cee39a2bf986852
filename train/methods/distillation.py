"""Distillation: a small network learns the soft labels of a large trained one.

    trocar train distillation DATA --teacher runs/large --out runs/small

Source: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015 (arXiv
1503.02531), here for each pixel.

Equation: ``L = w_ce · CE(s(x), y) + w_dice · (1 − Dice) + w_soft · T² · KL(p_t ‖ p_s)`` with
``p_t = softmax(t(x) / T)`` and ``p_s = softmax(s(x) / T)`` at each pixel, ``t`` the teacher and
``s`` the student. KL is the mean over the pixels of an image, then over all images of the step:
labelled ones, and those of ``--unlabelled``, on which the soft labels are the only loss.

Departures and decisions:
- The paper has the cross-entropy of soft labels. KL has the same gradient and is 0 where student
  and teacher agree.
- T² is the paper's; it keeps the gradient of soft labels as strong at every temperature.
- Teacher and student see the same augmented image (Beyer et al., "Knowledge distillation: a good
  teacher is patient and consistent", CVPR 2022). So the teacher runs at every step.
- Pixels that the labels ignore are counted: the teacher sees them like any other.
- Labelled and unlabelled images pass the student one after the other: BatchNorm's statistics must
  not tell both kinds apart.
- The teacher is no part of the checkpoints, which keep its SHA-256 and the record of its frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from trocar.contract.config import require
from trocar.contract.errors import ConfigError
from trocar.contract.manifest import IMAGENET_MEAN, IMAGENET_STD, Manifest
from trocar.train.data.leakage import unseen_frames
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
from trocar.train.teachers.open import open_teacher
from trocar.train.teachers.teacher import MatchedTeacher, Teacher


@dataclass(frozen=True, kw_only=True)
class DistillationConfig(SegmentationConfig):
    """Distillation.

    Attributes:
        teacher: Trained model: a run folder, a .ckpt file, a bundle or an .onnx file. Required.
        teacher_resize: Resizes images to the teacher's size; without it another size is refused.
        teacher_mean: Normalisation of an .onnx file that Trocar did not export, of values 0..1.
        teacher_std: Likewise.
        w_soft: Weight of the soft labels.
        temperature: Temperature T of both softmax; a higher one shows more of the small
            probabilities.
    """

    teacher: Path | None = None
    teacher_resize: bool = False
    teacher_mean: tuple[float, float, float] = IMAGENET_MEAN
    teacher_std: tuple[float, float, float] = IMAGENET_STD
    w_soft: float = 1.0
    temperature: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            (
                self.w_soft > 0,
                "w_soft must be above 0: nothing else learns from the teacher",
            ),
            (self.temperature > 0, "temperature must be above 0"),
            (all(value > 0 for value in self.teacher_std), "teacher_std must be above 0"),
        )


class Distillation:
    """See the module."""

    name = "distillation"
    task = "segmentation"
    Config = DistillationConfig
    required_data = ()
    optional_data = ("unlabelled",)
    monitor = "iou_mean"

    def __init__(self, config: DistillationConfig) -> None:
        self.config = config
        self.logged: dict[str, Tensor | float] = {}
        self.notes: list[str] = []
        self._opened: Teacher | None = None

    def teacher_origin(self) -> Mapping[str, Any]:
        """Kind, path, SHA-256 and frames of the teacher.

        Raises:
            ConfigError: No teacher is named, or it is no segmentation model.
            DataError: See `trocar.train.teachers.open`.
        """
        return self._teacher().origin

    def streams(self, data: TrainData) -> Mapping[str, BatchSource]:
        """Labelled frames, and unlabelled ones where there are any; matches the teacher to them.

        Raises:
            ConfigError: No teacher is named, or it has another size.
            DataError: The teacher has other classes.
        """
        size = self.config.size
        self.teacher = MatchedTeacher(
            self._teacher(), data.labelled.table, size=size, resize=self.config.teacher_resize
        )
        self.notes = _notes(self._teacher(), data)
        self.labelled = frames_stream(data, data.labelled, size=size, name="labelled")
        streams: dict[str, BatchSource] = {"labelled": self.labelled}
        if data.unlabelled is not None:
            streams["unlabelled"] = frames_stream(
                data, data.unlabelled, size=size, name="unlabelled", labelled=False
            )
        return streams

    def build(self, spec: ModelSpec) -> nn.Module:
        """The student."""
        self.spec = spec
        network: nn.Module = make_network(self.config, classes=len(spec.classes), input=spec.input)
        self.network = network
        return network

    def losses(self, batch: Mapping[str, Batch], progress: Progress) -> dict[str, Tensor]:
        """``soft`` on all images; ``ce``, ``dice`` and any ``texture`` on labelled ones."""
        labelled = batch["labelled"]
        logits, mask = self.network(labelled["image"]), labelled["mask"]
        images, students = [labelled["image"]], [logits]
        if "unlabelled" in batch:
            images.append(batch["unlabelled"]["image"])
            # A forward pass of its own keeps BatchNorm's statistics apart, see the module.
            students.append(self.network(images[1]))
        # The teacher does not learn, and takes all at once: an ONNX file's images go by the host.
        sizes = [len(image) for image in images]
        teachers = torch.split(self.teacher(torch.cat(images)), sizes)
        pairs = list(zip(students, teachers, strict=True))
        temperature = self.config.temperature
        soft = torch.cat([soft_label_loss(*pair, temperature=temperature) for pair in pairs])
        agreeing = [(ours.argmax(1) == theirs.argmax(1)).float().mean() for ours, theirs in pairs]
        self.logged = {"teacher_agreement": torch.stack(agreeing).mean().detach()}
        return {
            **supervision(logits, mask, self.config),
            **texture(logits, mask, self.spec.classes, self.config, progress),
            "soft": self.config.w_soft * soft.mean(),
        }

    def after_step(self, progress: Progress) -> None:
        """After the last step, BatchNorm's statistics; see `finish_statistics`."""
        if self.config.bn_batches:
            finish_statistics(self.network, self.labelled, progress, batches=self.config.bn_batches)

    def evaluate(self, data: TrainData) -> dict[str, float]:
        """Scores of the student, see `trocar.train.metrics.segmentation`."""
        return evaluate_segmentation(self.network, data.validation, size=self.config.size)

    def save_predictions(self, data: TrainData, path: Path) -> None:
        """Frames, labels and predictions of the student."""
        draw_segmentation(self.network, data.validation, path, size=self.config.size)

    def deployable(self) -> tuple[nn.Module, Manifest]:
        """The student."""
        return self.network, manifest_of(self.spec, method=self.name)

    def _teacher(self) -> Teacher:
        config = self.config
        if config.teacher is None:
            raise ConfigError(
                "distillation needs a teacher, none is named",
                remedy="pass --teacher with a run folder, a bundle or an .onnx file",
            )
        if self._opened is None:
            self._opened = open_teacher(
                config.teacher, mean=config.teacher_mean, std=config.teacher_std
            )
        return self._opened


def _notes(teacher: Teacher, data: TrainData) -> list[str]:
    """What a person should know of a teacher on these data."""
    notes = []
    if teacher.classes is None:
        names = ", ".join(data.labelled.table.names)
        notes.append(f"{teacher.path} names no classes: its channels are taken as {names}")
    known = str(teacher.origin["trained_on"])
    seen = len(data.validation) - len(unseen_frames(data.validation, known))
    if seen:
        notes.append(
            f"the teacher was trained on {seen} of the {len(data.validation)} validation frames or "
            "on their videos: the scores of this run are too high"
        )
    return notes


def soft_label_loss(student: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
    """``T² · KL(softmax(t / T) ‖ softmax(s / T))`` of each image, mean over its pixels.

    Args:
        student: Logits [B,K,h,w].
        teacher: Logits [B,K,h,w]; no gradient flows into them.
        temperature: T, above 0.

    Returns:
        [B] float32, 0 or more.
    """
    with torch.autocast(student.device.type, enabled=False):
        ours = (student.float() / temperature).log_softmax(dim=1)
        theirs = (teacher.detach().float() / temperature).log_softmax(dim=1)
        each = functional.kl_div(ours, theirs, reduction="none", log_target=True).sum(dim=1)
        return temperature**2 * each.mean(dim=(1, 2))


METHOD = Distillation
