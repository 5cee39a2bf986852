"""A trained model as the source of soft labels, and how it is matched to a run.

    teacher = open_teacher(Path("runs/large"))                       # trocar.train.teachers.open
    matched = MatchedTeacher(teacher, table, size=(256, 320), resize=False)
    logits = matched(images)                                         # [B,K,h,w], the run's classes

Classes are matched by name, so the order of the rows of both tables may differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from trocar.contract.classes import ClassTable
from trocar.contract.errors import ConfigError, DataError
from trocar.train.constants import constant


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A trained segmentation model.

    Attributes:
        path: The run, bundle or file that was named.
        classes: Names of its classes, in the order of its channels; ``None`` where it has none.
        channels: Number of its classes.
        size: Network height and width; ``None`` where it takes every size.
        logits: RGB ``[B,3,h,w]`` 0..255 of its size to logits ``[B,K,h',w']``, on the same device.
        origin: What is kept of it in checkpoints and bundles: kind, path, SHA-256, and the record
            of its frames.
    """

    path: Path
    classes: tuple[str, ...] | None
    channels: int
    size: tuple[int, int] | None
    logits: Callable[[Tensor], Tensor]
    origin: Mapping[str, Any]


class MatchedTeacher:
    """A teacher that answers in the classes and the size of a run.

    Args:
        teacher: The teacher.
        table: The classes of the run.
        size: Network height and width of the run.
        resize: Whether images are resized to the teacher's size, and its logits back.

    Raises:
        DataError: The teacher has other classes.
        ConfigError: The teacher has another size, and ``resize`` is false.
    """

    def __init__(
        self, teacher: Teacher, table: ClassTable, *, size: tuple[int, int], resize: bool
    ) -> None:
        self.teacher, self.size = teacher, size
        self.order = _order(teacher, table)
        self.input_size = teacher.size or size
        if self.input_size != size and not resize:
            wide, high = self.input_size[1], self.input_size[0]
            raise ConfigError(
                f"the teacher {teacher.path} takes {wide}x{high} (width x height), the student "
                f"{size[1]}x{size[0]}",
                remedy=f"pass --size {wide}x{high}, or --teacher-resize to resize the images for "
                "the teacher",
            )

    @torch.no_grad()
    def __call__(self, image: Tensor) -> Tensor:
        """RGB ``[B,3,h,w]`` 0..255 to logits float32 ``[B,K,h,w]`` without gradient."""
        if self.input_size != self.size:
            image = _resized(image, self.input_size)
        logits = self.teacher.logits(image).float()
        if tuple(logits.shape[2:]) != self.size:
            logits = _resized(logits, self.size)
        if self.order is None:
            return logits
        # Not logits[:, list]: the list would be copied to the device at every step.
        return logits.index_select(1, constant(tuple(self.order), like=logits, dtype=torch.int64))


def _order(teacher: Teacher, table: ClassTable) -> list[int] | None:
    """The teacher's channel for each class of the table; ``None`` where the order is the same."""
    if teacher.classes is None:
        if teacher.channels == len(table):
            return None
        raise DataError(
            f"the teacher {teacher.path} has {teacher.channels} classes, the data have "
            f"{len(table)}: {', '.join(table.names)}",
            remedy="choose a teacher of the same classes, or convert the data to its classes",
        )
    if set(teacher.classes) != set(table.names):
        raise DataError(
            f"the teacher {teacher.path} has the classes {', '.join(teacher.classes)}; the data "
            f"have {', '.join(table.names)}",
            remedy="choose a teacher of the same classes, or convert the data to its classes",
        )
    order = [teacher.classes.index(name) for name in table.names]
    return None if order == list(range(len(table))) else order


def _resized(values: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(
        values.float(), size=size, mode="bilinear", align_corners=False, antialias=False
    )
