"""The configuration of phantom scenes, and one frame with its ground truth.

PhantomConfig(frames=50, domain="robotic", difficulty=0.3)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import ClassRow, ClassTable, default_colour
from trocar.contract.errors import ConfigError

PHANTOM_DOMAINS: tuple[str, ...] = ("laparoscopy", "robotic")
"""Appearances of the scenes: tissue, light, instrument material and camera differ."""

# The order is part of the data format: ids must never change.
INSTRUMENT_TYPES: tuple[str, ...] = (
    "grasper",
    "scissors",
    "hook",
    "needle_driver",
    "clip_applier",
    "suction",
)
PARTS: tuple[str, ...] = ("shaft", "wrist", "clasper")

MIN_SIDE = 64


@dataclass(frozen=True, kw_only=True)
class PhantomConfig:
    """A phantom sequence.

    Attributes:
        frames: Number of frames, 1 or more.
        size: Height and width in pixels, each 64 or more.
        seed: Equal configurations with equal seeds give equal frames, bit for bit.
        domain: One of `PHANTOM_DOMAINS`.
        difficulty: 0 (clean) to 1 (hard): smoke, blood, blur, noise, glare, distracting tissue.
        clip_length: Frames of continuous motion before a new scene is drawn.
        instruments: Smallest and largest number of instruments in a scene, 1..3.
        fps: Frames per second of scene time: 25 is video; lower values spread a clip in time.

    Raises:
        ConfigError: A value is out of range; all faults at once.
    """

    frames: int = 100
    size: tuple[int, int] = (512, 640)
    seed: int = 0
    domain: str = PHANTOM_DOMAINS[0]
    difficulty: float = 0.5
    clip_length: int = 25
    instruments: tuple[int, int] = (1, 3)
    fps: float = 25.0

    def __post_init__(self) -> None:
        faults = []
        if self.frames < 1:
            faults.append(f"frames is {self.frames}, expected 1 or more")
        if len(self.size) != 2 or min(self.size) < MIN_SIDE:
            faults.append(f"size is {self.size}, expected height and width of {MIN_SIDE}+")
        if self.seed < 0:
            faults.append(f"seed is {self.seed}, expected 0 or more")
        if self.domain not in PHANTOM_DOMAINS:
            faults.append(f"domain is {self.domain!r}, expected {' or '.join(PHANTOM_DOMAINS)}")
        if not 0.0 <= self.difficulty <= 1.0:
            faults.append(f"difficulty is {self.difficulty:g}, expected 0..1")
        if self.clip_length < 1:
            faults.append(f"clip_length is {self.clip_length}, expected 1 or more")
        if not 1 <= self.instruments[0] <= self.instruments[-1] <= 3:
            faults.append(f"instruments is {self.instruments}, expected smallest and largest, 1..3")
        if not (math.isfinite(self.fps) and self.fps > 0):
            faults.append(f"fps is {self.fps:g}, expected more than 0")
        if faults:
            raise ConfigError(
                "the phantom configuration is wrong: " + "; ".join(faults),
                remedy="correct the named values",
            )


@dataclass(frozen=True)
class Tip:
    """Where the working end of one visible instrument is.

    Attributes:
        instance: Value in the instance mask, 1..n.
        class_id: Value in the type mask.
        points: ``(x, y)`` in pixels, with integer coordinates at pixel centres: one point for each
            jaw; they can be outside the frame, and coincide for closed jaws.
        visible: Whether at least one point is in view and not hidden by another instrument.
    """

    instance: int
    class_id: int
    points: tuple[tuple[float, float], ...]
    visible: bool


@dataclass(frozen=True)
class PhantomFrame:
    """One frame and its ground truth.

    Attributes:
        image: ``[H, W, 3]`` uint8 RGB.
        types: ``[H, W]`` uint8, ids of `phantom_table`.
        parts: ``[H, W]`` uint8, ids of `parts_table`.
        instances: ``[H, W]`` uint8, 0 background, 1..n instruments.
        tips: One entry for each instrument that has pixels in this frame.
        clip: Number of the scene, from 0.
        time: Seconds since the start of the clip.
    """

    image: NDArray[np.uint8]
    types: NDArray[np.uint8]
    parts: NDArray[np.uint8]
    instances: NDArray[np.uint8]
    tips: tuple[Tip, ...]
    clip: int
    time: float


def phantom_table() -> ClassTable:
    """Background and the instrument types; the ids never change."""
    rows = [ClassRow(id=0, name="background", colour=(0, 0, 0))]
    rows += [
        ClassRow(id=i, name=name, colour=default_colour(i), instrument=True, type=name)
        for i, name in enumerate(INSTRUMENT_TYPES, start=1)
    ]
    return ClassTable(tuple(rows))


def parts_table() -> ClassTable:
    """Background, shaft, wrist and clasper (the working end, whether it opens or not).

    All parts have the same type, so that the runtime joins them to instruments.
    """
    rows = [ClassRow(id=0, name="background", colour=(0, 0, 0))]
    rows += [
        ClassRow(
            id=i,
            name=name,
            colour=default_colour(i),
            instrument=True,
            type="instrument",
            part=name,
        )
        for i, name in enumerate(PARTS, start=1)
    ]
    return ClassTable(tuple(rows))
