"""The phantom scenes that benchmarks/methods.py trains on.

    labelled, rest = few_clips(scenes(Path("runs/methods"), "laparoscopy").subset("train"), 0.05, 0)

Clips have four frames. The classes are the parts of the instruments, or one class for all of them.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import IGNORE_INDEX, ClassTable
from trocar.train.data.phantom import PhantomConfig, write_phantom
from trocar.train.data.readers import open_frames
from trocar.train.data.sample import FrameSet, Item, Sample

SIZE = (128, 160)
DIFFICULTY = 0.3
CLIP_LENGTH = 4
JITTER = 2.0
"""Standard deviation of the displacement at an outline, in pixels."""
BAND = 4.0
"""Distance from an outline, in pixels, at which the displacement is 1/e."""


def scenes(
    work: Path, domain: str, *, parts: bool = False, clips: int = 120, seed: int = 11
) -> FrameSet:
    """Phantom scenes of a domain, rendered if the folder does not exist; one class, or parts."""
    folder = work / f"phantom-{domain}-{clips}-{seed}"
    if not folder.exists():
        config = PhantomConfig(
            frames=clips * CLIP_LENGTH,
            size=SIZE,
            domain=domain,
            difficulty=DIFFICULTY,
            clip_length=CLIP_LENGTH,
            fps=2,
            seed=seed,
        )
        write_phantom(folder, config)
    return open_frames(folder, task="parts") if parts else as_binary(open_frames(folder))


def as_binary(frames: FrameSet) -> FrameSet:
    """Merge all instruments into one class."""

    def read(item: Item) -> Sample:
        sample = frames.read(item)
        assert sample.mask is not None
        mask = np.where(sample.mask == IGNORE_INDEX, sample.mask, np.minimum(sample.mask, 1))
        return replace(sample, mask=mask.astype(np.uint8))

    return replace(frames, table=ClassTable.from_names(["background", "instrument"]), read=read)


def few_clips(frames: FrameSet, share: float, seed: int) -> tuple[FrameSet, FrameSet]:
    """Draw the clips whose labels are used: labelled frames, then the other frames.

    Whole clips are drawn, because single frames of all clips would show nearly every scene.
    """
    groups = frames.groups
    count = max(round(share * len(groups)), 1)
    order = np.random.default_rng((seed, len(groups))).permutation(len(groups))
    chosen = {groups[index] for index in order[:count]}
    parts = [
        [i.name for i in frames.items if (i.group in chosen) is labelled]
        for labelled in (True, False)
    ]
    return frames.only(parts[0]), frames.only(parts[1])


def with_jagged_outlines(frames: FrameSet) -> FrameSet:
    """Make the outlines in the images jagged; the labels stay smooth."""

    def read(item: Item) -> Sample:
        sample = frames.read(item)
        assert sample.mask is not None
        seed = zlib.crc32(item.name.encode())
        return replace(sample, image=jagged(sample.image, sample.mask, seed))

    return replace(frames, name=f"{frames.name}, jagged", read=read)


def jagged(image: NDArray[np.uint8], mask: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """Move each pixel near an outline by a random displacement, so that both sides mix."""
    inside = (mask > 0).astype(np.uint8)
    if not inside.any() or inside.all():
        return image
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, 3)
    distance += cv2.distanceTransform(1 - inside, cv2.DIST_L2, 3)
    height, width = mask.shape
    steps = np.random.default_rng(seed).normal(0, JITTER, (2, height, width)).astype(np.float32)
    steps *= np.exp(-((distance / BAND) ** 2))
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    moved = cv2.remap(
        image, x + steps[0], y + steps[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    return np.asarray(moved, np.uint8)
