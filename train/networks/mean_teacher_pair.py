"""A student and its teacher, which is an exponential moving average (EMA) of the student.

pair = StudentTeacher(network)
pair.update_ema(0.99)
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class StudentTeacher(nn.Module):
    """Two equal networks: the student is trained, the teacher is its moving average.

    Args:
        student: The network to train.
    """

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.student = student
        self.teacher = copy.deepcopy(student).requires_grad_(False)
        self.teacher.eval()

    def train(self, mode: bool = True) -> StudentTeacher:
        """Sets the student's mode; the teacher stays in evaluation mode, as it is deployed."""
        super().train(mode)
        self.teacher.eval()
        return self

    @torch.no_grad()
    def update_ema(self, decay: float) -> None:
        """``teacher ← decay · teacher + (1 − decay) · student``, BatchNorm's buffers included.

        Integer buffers (counters) are copied: they have no meaningful average.
        """
        student = self.student.state_dict()
        averaged: list[tuple[Tensor, Tensor]] = []
        for name, value in self.teacher.state_dict().items():
            if value.is_floating_point():
                averaged.append((value, student[name]))
            else:
                value.copy_(student[name])
        teacher, other = ([pair[side] for pair in averaged] for side in (0, 1))
        # All at once: on a GPU two launches in all, and not two for each tensor.
        torch._foreach_mul_(teacher, decay)
        torch._foreach_add_(teacher, other, alpha=1 - decay)

    @torch.no_grad()
    def update_bn(self, image: Tensor) -> None:
        """Updates the student's running statistics with images [B,3,h,w] that have no labels."""
        self.student(image)

    @torch.no_grad()
    def teacher_probabilities(self, views: list[Tensor]) -> Tensor:
        """The teacher's mean class probabilities over views of the same images.

        BatchNorm uses the statistics of each view: the running ones are those of clean images.

        Args:
            views: One view for a plain pass; several for Monte-Carlo passes, where dropout is on.

        Returns:
            [B,K,h,w] float32.
        """
        with batch_statistics(self.teacher), dropout(self.teacher, on=len(views) > 1):
            mean: Tensor = torch.stack(
                [self.teacher(view).float().softmax(dim=1) for view in views]
            ).mean(dim=0)
        return mean


@contextmanager
def batch_statistics(network: nn.Module) -> Iterator[None]:
    """BatchNorm normalises by each batch's statistics and leaves the running ones unchanged.

    A network that freezes BatchNorm in its ``train`` stays frozen. The mode is restored afterwards.
    """
    mode = network.training
    network.train()
    layers = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        network.train(mode)


@contextmanager
def dropout(network: nn.Module, *, on: bool) -> Iterator[None]:
    """Switches dropout on or off, whatever the mode of the network."""
    layers = [m for m in network.modules() if isinstance(m, nn.modules.dropout._DropoutNd)]
    modes = [layer.training for layer in layers]
    for layer in layers:
        layer.training = on
    try:
        yield
    finally:
        for layer, mode in zip(layers, modes, strict=True):
            layer.training = mode
