"""Small data sets on disk for the tests of `trocar.train.data`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import ClassTable
from trocar.contract.media.pictures import write_picture

TABLE = ClassTable.from_names(["background", "grasper", "scissors"])


def picture(seed: int, height: int = 24, width: int = 32) -> NDArray[np.uint8]:
    """A picture ``[H, W, 3]`` uint8 of smooth noise."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height)), np.uint8)


def labels(seed: int, height: int = 24, width: int = 32, classes: int = 3) -> NDArray[np.uint8]:
    """A mask ``[H, W]`` uint8 of two rectangles on background."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), np.uint8)
    for _ in range(2):
        y, x = rng.integers(0, height - 8), rng.integers(0, width - 8)
        mask[y : y + 7, x : x + 7] = rng.integers(1, classes)
    return mask


def boxes(values: Sequence[int], height: int, width: int) -> NDArray[np.uint8]:
    """A mask with one vertical stripe of each value on 0, the top eighth left out."""
    mask = np.zeros((height, width), np.uint8)
    step = width // len(values)
    for i, value in enumerate(values):
        mask[height // 8 :, i * step : (i + 1) * step] = value
    return mask


def image_and_mask_folder(root: Path, count: int = 4) -> Path:
    """Writes ``count`` frames with masks, a class table and splits of three and the rest."""
    for i in range(count):
        write_picture(root / "images" / f"f{i}.png", picture(i))
        write_picture(root / "masks" / f"f{i}.png", labels(i))
    TABLE.write(root / "classes.toml")
    (root / "splits").mkdir()
    (root / "splits" / "train.txt").write_text("".join(f"f{i}\n" for i in range(count - 1)))
    (root / "splits" / "val.txt").write_text(f"f{count - 1}\n")
    return root
