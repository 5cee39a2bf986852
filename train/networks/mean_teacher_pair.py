"""A student and its teacher, which is the student's running average.

pair = StudentTeacher(network); pair.average(0.99)
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class StudentTeacher(nn.Module):
    """Two equal networks; only the student is trained, the teacher follows.

    Args:
        student: The network to train.
    """

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.student = student
        self.teacher = copy.deepcopy(student).requires_grad_(False)
        self.teacher.eval()

    def train(self, mode: bool = True) -> StudentTeacher:
        """Sets the student's mode; the teacher always judges as it will be deployed."""
        super().train(mode)
        self.teacher.eval()
        return self

    @torch.no_grad()
    def average(self, alpha: float) -> None:
        """``teacher ← alpha · teacher + (1 − alpha) · student``, BatchNorm's buffers included.

        Whole-number buffers (counters) are copied: an average of them means nothing.
        """
        own, other = self.teacher.state_dict(), self.student.state_dict()
        for name, value in own.items():
            if value.is_floating_point():
                value.mul_(alpha).add_(other[name], alpha=1 - alpha)
            else:
                value.copy_(other[name])

    @torch.no_grad()
    def observe(self, image: Tensor) -> None:
        """Lets the student's running statistics see images [B,3,h,w] that have no labels."""
        self.student(image)

    @torch.no_grad()
    def judge(self, views: list[Tensor]) -> Tensor:
        """The teacher's mean class probabilities over views of the same images.

        BatchNorm takes each view's own statistics: the running ones are those of clean images, for
        which the teacher is deployed.

        Args:
            views: One view for a plain pass; several for Monte-Carlo passes, where dropout is on.

        Returns:
            [B,K,h,w] float32.
        """
        with own_statistics(self.teacher), dropout(self.teacher, on=len(views) > 1):
            judged: Tensor = torch.stack(
                [self.teacher(view).float().softmax(dim=1) for view in views]
            ).mean(dim=0)
        return judged


@contextmanager
def own_statistics(network: nn.Module) -> Iterator[None]:
    """BatchNorm normalises by each batch's statistics and leaves the running ones as they are.

    A network that freezes BatchNorm in its ``train`` keeps it so. The network's mode is put back.
    """
    mode = network.training
    network.train()
    layers = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    before = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, before, strict=True):
            layer.momentum = momentum
        network.train(mode)


@contextmanager
def dropout(network: nn.Module, *, on: bool) -> Iterator[None]:
    """Switches dropout on or off, whatever the mode of the network."""
    layers = [m for m in network.modules() if isinstance(m, nn.modules.dropout._DropoutNd)]
    before = [layer.training for layer in layers]
    for layer in layers:
        layer.training = on
    try:
        yield
    finally:
        for layer, mode in zip(layers, before, strict=True):
            layer.training = mode
