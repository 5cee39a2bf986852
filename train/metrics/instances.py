"""Scores and prediction sheets of an instance network on a set of frames.

scores = evaluate_instances(network, validation, size=(256, 320), min_score=0.3)
scores["instance_pq"], scores["iou_mean"]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trocar.contract.classes import IGNORE_INDEX, ClassTable
from trocar.contract.instances.pairing import pair_instances
from trocar.contract.media.label_maps import enlarge
from trocar.train.data.loader.instances import InstanceReader
from trocar.train.data.sample import FrameSet, Sample
from trocar.train.data.transforms import resize_eval
from trocar.train.metrics.panoptic import PanopticQuality
from trocar.train.metrics.segmentation import SegmentationScores
from trocar.train.report.figures import write_sheet

MOST = 255
"""Instances that a frame may have here; the limit of a model is no limit of the truth."""


@dataclass(frozen=True)
class Painted:
    """Instances of one frame.

    Attributes:
        numbers: ``[h,w]`` uint8, from 1 by falling score, 0 for none.
        classes: Class of each, from number 1 on.
    """

    numbers: NDArray[np.uint8]
    classes: tuple[int, ...]

    @property
    def labels(self) -> NDArray[np.uint8]:
        """``[h,w]`` uint8 classes."""
        return np.array([0, *self.classes], np.uint8)[self.numbers]

    def listed(self, counted: NDArray[np.bool_]) -> list[tuple[int, NDArray[np.bool_]]]:
        """Class and pixels of each instance that has pixels among the counted ones."""
        shown = [(row, (self.numbers == n) & counted) for n, row in enumerate(self.classes, 1)]
        return [(row, pixels) for row, pixels in shown if pixels.any()]


def evaluate_instances(
    network: nn.Module, frames: FrameSet, *, size: tuple[int, int], min_score: float
) -> dict[str, float]:
    """Panoptic quality, and scores of the labels that follow from the instances, at frame size.

    Args:
        network: RGB 0..255 [B,3,h,w] to ``classes``, ``scores`` and ``masks`` of candidates, see
            `trocar.train.networks.center_offset.grouping`; its mode is restored afterwards.
        frames: Labelled frames with instances.
        size: Network height and width.
        min_score: Smallest score of an instance.

    Raises:
        DataError: See `trocar.train.data.loader.instances.InstanceReader`.
    """
    labels, quality = SegmentationScores(frames.table), PanopticQuality(len(frames.table))
    for sample, found in _predictions(network, frames, size, min_score):
        assert sample.mask is not None
        truth = true_instances(sample)
        counted = sample.mask != IGNORE_INDEX
        quality.add(truth.listed(counted), found.listed(counted))
        # Classes without instances are background for this network.
        labels.add(np.where(counted, truth.labels, sample.mask), found.labels)
    return {"instance_pq": quality.result(), **labels.result()}


def draw_instances(
    network: nn.Module,
    frames: FrameSet,
    path: Path,
    *,
    size: tuple[int, int],
    min_score: float,
    count: int = 6,
) -> None:
    """Writes a PNG sheet of frames, true and found instances, spread over the set.

    A found instance has the colour of the true one that it overlaps most.
    """
    indices = np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int)
    chosen = frames.only(frames.items[int(index)].name for index in indices)
    rows = []
    for sample, found in _predictions(network, chosen, size, min_score):
        assert sample.mask is not None
        truth = true_instances(sample)
        ignored = sample.mask == IGNORE_INDEX
        shown = np.where(ignored, np.uint8(IGNORE_INDEX), truth.numbers)
        rows.append((sample.name, sample.image, shown, _as_numbered(found, truth)))
    most = max(max(int(r[2][r[2] < IGNORE_INDEX].max(initial=0)), int(r[3].max())) for r in rows)
    names = ["background", *(f"instance {n}" for n in range(1, max(most, 1) + 1))]
    write_sheet(rows, ClassTable.from_names(names), path)


def painted(found: Mapping[str, Tensor], index: int, *, min_score: float) -> Painted:
    """One frame of a batch: its candidates that reach the score, by falling score."""
    scores = found["scores"][index].cpu().numpy()
    masks = found["masks"][index].cpu().numpy() > 0
    order = [n for n in np.argsort(-scores, kind="stable").tolist() if scores[n] >= min_score]
    kept = [number for number in order if masks[number].any()]
    numbers = np.zeros(masks.shape[1:], np.uint8)
    for place, number in enumerate(kept, start=1):
        numbers[masks[number]] = place
    classes = found["classes"][index].cpu().numpy()
    return Painted(numbers, tuple(int(classes[number]) + 1 for number in kept))


def true_instances(sample: Sample) -> Painted:
    """The instances of a labelled frame; each has the class of most of its pixels."""
    assert sample.mask is not None
    assert sample.instances is not None
    numbers = sample.instances
    codes = numbers.astype(np.int64) * 256 + sample.mask
    pixels = np.bincount(codes.ravel(), minlength=65536).reshape(256, 256)
    classes = pixels[1 : int(numbers.max(initial=0)) + 1].argmax(axis=1)
    return Painted(numbers, tuple(classes.tolist()))


def _as_numbered(found: Painted, truth: Painted) -> NDArray[np.uint8]:
    """The found instances with the numbers of the true ones, and further ones behind them."""
    pairs = pair_instances(found.numbers, truth.numbers, min_iou=0.1)
    known = {pair.first: pair.second for pair in pairs}
    following = len(truth.classes)
    lookup = np.zeros(256, np.uint8)
    for number in range(1, len(found.classes) + 1):
        if number not in known:
            following += 1
        lookup[number] = min(known.get(number, following), IGNORE_INDEX - 1)
    return lookup[found.numbers]


def _predictions(
    network: nn.Module, frames: FrameSet, size: tuple[int, int], min_score: float, batch: int = 8
) -> Iterator[tuple[Sample, Painted]]:
    device = next(network.parameters()).device
    training, read = network.training, InstanceReader(frames, most=MOST)
    network.eval()
    try:
        for first in range(0, len(frames), batch):
            samples = [read(item) for item in frames.items[first : first + batch]]
            images = torch.stack([resize_eval(sample.image, size) for sample in samples])
            with torch.no_grad():
                output = network(images.to(device))
            for index, sample in enumerate(samples):
                small = painted(output, index, min_score=min_score)
                numbers = enlarge(small.numbers, sample.image.shape[:2])
                yield sample, Painted(numbers, small.classes)
    finally:
        network.train(training)
