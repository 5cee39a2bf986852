"""Scores and prediction sheets of a segmentation network on a set of frames.

scores = evaluate_segmentation(network, validation, size=(256, 320))
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from trocar.contract.media.label_maps import enlarge
from trocar.train.data.sample import FrameSet, Sample
from trocar.train.data.transforms import resize_eval
from trocar.train.metrics.segmentation import SegmentationScores
from trocar.train.report.figures import write_sheet

BATCH = 8


def evaluate_segmentation(
    network: nn.Module, frames: FrameSet, *, size: tuple[int, int]
) -> dict[str, float]:
    """Scores at frame size: labels are enlarged by the nearest pixel centre, as at run time.

    Args:
        network: RGB 0..255 [B,3,h,w] to logits [B,K,h,w]; its mode is restored afterwards.
        frames: Labelled frames.
        size: Network height and width.
    """
    scores = SegmentationScores(frames.table)
    for sample, labels in _predictions(network, frames, size):
        if sample.mask is not None:
            scores.add(sample.mask, labels)
    return scores.result()


def draw_segmentation(
    network: nn.Module, frames: FrameSet, path: Path, *, size: tuple[int, int], count: int = 6
) -> None:
    """Writes a PNG sheet of frames, their labels and the predictions, spread over the set."""
    indices = np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int)
    chosen = frames.only(frames.items[int(index)].name for index in indices)
    rows = [
        (sample.name, sample.image, sample.mask, labels)
        for sample, labels in _predictions(network, chosen, size)
    ]
    write_sheet(rows, frames.table, path)


def _predictions(
    network: nn.Module, frames: FrameSet, size: tuple[int, int]
) -> Iterator[tuple[Sample, NDArray[np.uint8]]]:
    device = next(network.parameters()).device
    training = network.training
    network.eval()
    try:
        for first in range(0, len(frames), BATCH):
            samples = [frames.read(item) for item in frames.items[first : first + BATCH]]
            images = torch.stack([resize_eval(sample.image, size) for sample in samples])
            with torch.no_grad():
                logits = network(images.to(device))
            small = logits.argmax(dim=1).to(torch.uint8).cpu().numpy()
            for sample, labels in zip(samples, small, strict=True):
                yield sample, enlarge(labels, sample.image.shape[:2])
    finally:
        network.train(training)
