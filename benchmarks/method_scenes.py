"""The scenes that benchmarks/methods.py trains on, each built so that there is something to gain.

    frames = frayed(scenes(Path("runs/methods"), "laparoscopy"))

Frames are phantom scenes of two frames each; all instruments are one class.
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
FRAY = 2.0
"""Deviation in pixels by which the picture is torn at an outline."""
BAND = 4.0
"""How far from an outline, in pixels, the tearing has faded to a third."""


def scenes(work: Path, domain: str, *, frames: int = 240) -> FrameSet:
    """Phantom scenes of a domain, painted where they are not there yet."""
    folder = work / f"phantom-{domain}"
    if not folder.exists():
        config = PhantomConfig(
            frames=frames,
            size=PAINTED,
            domain=domain,
            difficulty=DIFFICULTY,
            clip_length=2,
            fps=2,
            seed=11,
        )
        write_phantom(folder, config)
    return as_binary(open_frames(folder))


def as_binary(frames: FrameSet) -> FrameSet:
    """All instruments one class."""

    def read(item: Item) -> Sample:
        sample = frames.read(item)
        assert sample.mask is not None
        mask = np.where(sample.mask == IGNORE_INDEX, sample.mask, np.minimum(sample.mask, 1))
        return replace(sample, mask=mask.astype(np.uint8))

    return replace(frames, table=ClassTable.from_names(["background", "instrument"]), read=read)


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
