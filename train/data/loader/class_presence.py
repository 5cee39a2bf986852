"""What the masks of a set show: pixels of each class, and how often frames with rare ones come.

presence = class_presence(frames)
balanced_weights(presence)        # [0.4, 3.1, 1.9]: the rarer, the larger
repeat_factors(presence, 0.2)     # 1.0 for most frames, more for those that show a rare class
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import IGNORE_INDEX
from trocar.train.data.sample import FrameSet, Item

Presence = NDArray[np.int64]
"""Pixels of each class in each frame, [frames, K]."""


def class_presence(frames: FrameSet, *, threads: int = 2) -> Presence:
    """Counts the labelled pixels of each class in each frame; every frame is read once.

    Raises:
        DataError: A frame or its mask cannot be read.
    """
    classes = len(frames.table)

    def count(item: Item) -> NDArray[np.int64]:
        mask = frames.read(item).mask
        if mask is None:
            return np.zeros(classes, np.int64)
        counts = np.bincount(mask.reshape(-1), minlength=IGNORE_INDEX + 1)
        return counts[:classes].astype(np.int64)

    with ThreadPoolExecutor(threads, thread_name_prefix="trocar-masks") as pool:
        return np.array(list(pool.map(count, frames.items))).reshape(-1, classes)


def balanced_weights(presence: Presence) -> list[float]:
    """Weights that are inverse to the pixels of the classes, four significant digits.

    ``N / (K n_c)`` with N all pixels, K the classes that occur and ``n_c`` the pixels of one; a
    class that does not occur has 1. The formula is scikit-learn's ``balanced``.
    """
    pixels = presence.sum(axis=0).astype(np.float64)
    occurring = np.count_nonzero(pixels)
    weights = np.where(pixels > 0, pixels.sum() / (max(occurring, 1) * np.maximum(pixels, 1)), 1.0)
    return [float(f"{weight:.4g}") for weight in weights]


def repeat_factors(presence: Presence, threshold: float) -> list[float]:
    """How often each frame is drawn in an epoch, 1 or more.

    ``max(1, sqrt(threshold / f_c))`` of the rarest class that a frame shows, ``f_c`` the share of
    the frames that show class c. Source: Gupta et al., "LVIS", CVPR 2019.

    Args:
        presence: See `class_presence`.
        threshold: Classes in a smaller share of the frames are rare, 0..1.
    """
    shown = presence > 0
    share = shown.mean(axis=0)
    factor = np.sqrt(threshold / np.where(share > 0, share, np.inf)).clip(min=1.0)
    return [float(f"{value:.6g}") for value in np.where(shown, factor, 1.0).max(axis=1)]
