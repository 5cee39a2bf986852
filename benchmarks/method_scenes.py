"""The scenes that benchmarks/methods.py trains on, each built so that there is something to gain.

    labelled, rest = few_clips(scenes(Path("runs/methods"), "laparoscopy").subset("train"), 0.05, 0)

Frames are phantom scenes in clips of four frames; all instruments are one class, or their parts.
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

PAINTED = (128, 160)
DIFFICULTY = 0.3
CLIP_LENGTH = 4
FRAY = 2.0
"""Deviation in pixels by which the picture is torn at an outline."""
BAND = 4.0
"""How far from an outline, in pixels, the tearing has faded to a third."""


def scenes(
    work: Path, domain: str, *, parts: bool = False, clips: int = 120, seed: int = 11
) -> FrameSet:
    """Phantom scenes of a domain, painted where they are not there yet; one class, or parts."""
    folder = work / f"phantom-{domain}-{clips}-{seed}"
    if not folder.exists():
        config = PhantomConfig(
            frames=clips * CLIP_LENGTH,
            size=PAINTED,
            domain=domain,
            difficulty=DIFFICULTY,
            clip_length=CLIP_LENGTH,
            fps=2,
            seed=seed,
        )
        write_phantom(folder, config)
    return open_frames(folder, task="parts") if parts else as_binary(open_frames(folder))


def as_binary(frames: FrameSet) -> FrameSet:
    """All instruments one class."""

    def read(item: Item) -> Sample:
        sample = frames.read(item)
        assert sample.mask is not None
        mask = np.where(sample.mask == IGNORE_INDEX, sample.mask, np.minimum(sample.mask, 1))
        return replace(sample, mask=mask.astype(np.uint8))

    return replace(frames, table=ClassTable.from_names(["background", "instrument"]), read=read)


def few_clips(frames: FrameSet, share: float, seed: int) -> tuple[FrameSet, FrameSet]:
    """Draws the clips whose labels are used and gives the others too.

    Whole clips, as a team labels a few operations: single frames drawn from all clips would show
    nearly every scene.
    """
    groups = frames.groups
    count = max(round(share * len(groups)), 1)
    order = np.random.default_rng((seed, len(groups))).permutation(len(groups))
    chosen = {groups[place] for place in order[:count]}
    parts = [[i.name for i in frames.items if (i.group in chosen) is own] for own in (True, False)]
    return frames.only(parts[0]), frames.only(parts[1])


def frayed(frames: FrameSet) -> FrameSet:
    """Textured boundaries: pictures torn to and fro along every outline, labels left smooth."""

    def read(item: Item) -> Sample:
        sample = frames.read(item)
        assert sample.mask is not None
        seed = zlib.crc32(item.name.encode())
        return replace(sample, image=torn(sample.image, sample.mask, seed))

    return replace(frames, name=f"{frames.name}, frayed", read=read)


def torn(image: NDArray[np.uint8], mask: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """Moves each pixel near an outline by a step drawn for it, so that both sides mix."""
    inside = (mask > 0).astype(np.uint8)
    if not inside.any() or inside.all():
        return image
    away = cv2.distanceTransform(inside, cv2.DIST_L2, 3)
    away += cv2.distanceTransform(1 - inside, cv2.DIST_L2, 3)
    height, width = mask.shape
    steps = np.random.default_rng(seed).normal(0, FRAY, (2, height, width)).astype(np.float32)
    steps *= np.exp(-((away / BAND) ** 2))
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    moved = cv2.remap(
        image, x + steps[0], y + steps[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    return np.asarray(moved, np.uint8)
