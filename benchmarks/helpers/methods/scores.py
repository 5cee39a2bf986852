"""Scores of label maps: outlines, false-positive components and texture.

    scores = ShapeScores(classes=4); scores.add(truth, predicted); scores.result()

docs/methods.md uses them to evaluate the texture entropy term.
"""

from __future__ import annotations

from statistics import fmean

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from trocar.contract.classes import IGNORE_INDEX
from trocar.contract.media.label_maps import enlarge
from trocar.cuda_kernels import glcm_entropy, offsets_from
from trocar.export.parity.label_metrics import boundary_counts, boundary_f
from trocar.train.data.sample import FrameSet
from trocar.train.data.transforms import resize_eval
from trocar.train.losses.supervision_and_texture import ANGLES

TOLERANCE = 2
"""Maximum distance of two outlines that agree, in pixels."""

Labels = NDArray[np.uint8]


class ShapeScores:
    """Means over frames.

    ``boundary_f``: F-score of each class's outlines at `TOLERANCE`, mean over the classes without
    background that truth or prediction show, 0..1 (Csurka et al., BMVC 2013).
    ``false_positive_components``: predicted components of a class without a pixel of that class in
    the truth, number a frame.
    ``texture_gap``: ``|E(prediction) - E(truth)|`` in nats, E as in
    `trocar.train.methods.texture_entropy`.

    Args:
        classes: K, background included.
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.boundary: list[float] = []
        self.false_positives: list[float] = []
        self.gap: list[float] = []

    def add(self, truth: Labels, predicted: Labels) -> None:
        """Add one frame, ``[H,W]`` each; pixels that the truth ignores are not counted."""
        predicted = np.where(truth == IGNORE_INDEX, truth, predicted)
        pairs = [(truth == c, predicted == c) for c in range(1, self.classes)]
        counts = boundary_counts(truth, predicted, classes=self.classes, tolerance=TOLERANCE)
        shown = [value for value in boundary_f(counts)[1:].tolist() if value == value]
        if shown:
            self.boundary.append(fmean(shown))
        self.false_positives.append(float(sum(false_positive_components(t, p) for t, p in pairs)))
        self.gap.append(abs(self._entropy(predicted) - self._entropy(truth)))

    def _entropy(self, labels: Labels) -> float:
        return float(
            glcm_entropy(
                torch.from_numpy(labels.astype(np.int64))[None],
                levels=self.classes,
                offsets=offsets_from(1, ANGLES),
                ignore_index=IGNORE_INDEX,
            )
        )

    def result(self) -> dict[str, float]:
        """The means by name."""
        return {
            "boundary_f": fmean(self.boundary),
            "false_positive_components": fmean(self.false_positives),
            "texture_gap": fmean(self.gap),
        }


def false_positive_components(truth: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> int:
    """Number of components (8 neighbours) of a prediction without a pixel of the truth."""
    count, components = cv2.connectedComponents(predicted.astype(np.uint8), connectivity=8)
    return count - 1 - len(np.setdiff1d(np.unique(components[truth]), [0]))


@torch.no_grad()
def shape_scores(
    network: nn.Module, frames: FrameSet, *, size: tuple[int, int]
) -> dict[str, float]:
    """`ShapeScores` of a network on labelled frames, at frame size."""
    scores = ShapeScores(len(frames.table))
    network.eval()
    for item in frames.items:
        sample = frames.read(item)
        assert sample.mask is not None
        logits = network(resize_eval(sample.image, size)[None])
        small = np.asarray(logits.argmax(dim=1)[0], np.uint8)
        scores.add(sample.mask, enlarge(small, sample.mask.shape[:2]))
    return scores.result()
