"""The configuration of phantom scenes, and one frame with its ground truth.

PhantomConfig(frames=50, domain="robotic", difficulty=0.3)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import ClassRow, ClassTable, default_colour
from trocar.contract.config import Range, check_ranges

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
        frames: Number of frames.
        size: Height and width in pixels.
        seed: Equal configurations with equal seeds give equal frames, bit for bit.
        domain: One of `PHANTOM_DOMAINS`.
        difficulty: 0 (clean) to 1 (hard): smoke, blood, blur, noise, glare, distracting tissue.
        clip_length: Frames of continuous motion before a new scene is drawn.
        instruments: Smallest and largest number of instruments in a scene, 1..3.
        fps: Frames per second of scene time: 25 is video; lower values spread a clip in time.
        crossing: Whether all instruments of a scene are of one type and reach across the middle of
            the view, so that most of them cross.

    Raises:
        ConfigError: A value is out of range; all faults at once.
    """

    frames: Annotated[int, Range(1)] = 100
    size: Annotated[tuple[int, int], Range(MIN_SIDE)] = (512, 640)
    seed: Annotated[int, Range(0)] = 0
    domain: str = PHANTOM_DOMAINS[0]
    difficulty: Annotated[float, Range(0, 1)] = 0.5
    clip_length: Annotated[int, Range(1)] = 25
    instruments: Annotated[tuple[int, int], Range(1, 3)] = (1, 3)
    fps: Annotated[float, Range(0, open_low=True)] = 25.0
    crossing: bool = False

    def __post_init__(self) -> None:
        domains = " or ".join(PHANTOM_DOMAINS)
        check_ranges(
            self,
            (len(self.size) == 2, f"size is {self.size}, expected height and width"),
            (
                self.domain in PHANTOM_DOMAINS,
                f"domain is {self.domain!r}, expected {domains}",
            ),
            (
                self.instruments[0] <= self.instruments[-1],
                f"instruments is {self.instruments}, expected the smaller number first",
            ),
            (math.isfinite(self.fps), f"fps is {self.fps}, expected a finite number"),
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
