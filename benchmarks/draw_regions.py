"""How long drawing takes at 1, 4, 10, 100 and 1,000 instruments, in frames of 1080p.

python benchmarks/draw_regions.py --json benchmarks/results/draw_regions.json

The scene is a tissue-like texture. Up to ten instruments are long, oblique and enter from the
border; more than ten are spots on a grid, one region each. Tips move from frame to frame. The
processor time of one core is measured, so that other work on the machine counts little; the tenth
percentile of all frames is printed.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from time import process_time

import cv2
import numpy as np

from trocar.contract.classes import ClassTable
from trocar.contract.results import FrameResult, Instrument
from trocar.runtime.draw.overlay import Painter

COUNTS = (1, 4, 10, 100, 1000)
NAMES = ("background", "grasper", "scissors", "needle driver", "clip applier", "hook", "suction")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--size", default="1920x1080", help="WIDTHxHEIGHT of the frame")
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args()
    cv2.setNumThreads(1)
    width, height = (int(text) for text in given.size.split("x"))
    figures = {str(count): draw_ms(count, (height, width), given.frames) for count in COUNTS}
    for count, milliseconds in figures.items():
        print(f"{count:>5s} instruments {milliseconds:8.2f} ms")
    if given.json is not None:
        data = {"command": "python " + " ".join(sys.argv), "p10_ms": figures}
        given.json.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def draw_ms(count: int, size: tuple[int, int], frames: int) -> float:
    """Tenth percentile of the time that one frame with so many instruments takes."""
    table = ClassTable.from_names(NAMES)
    painter = Painter(table)
    image = tissue(size)
    times = []
    for number in range(frames + 5):
        result = scene(count, size, 2 * number, table)
        started = process_time()
        painter.draw(image, result, status="LIVE   mask 31 ms")
        times.append(process_time() - started)
    return round(float(np.percentile(times[5:], 10)) * 1000, 3)


def tissue(size: tuple[int, int], *, brightness: float = 1.0, seed: int = 0) -> np.ndarray:
    """A red texture ``[H, W, 3]`` uint8 that is brighter in the middle."""
    height, width = size
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.random((12, 20)).astype(np.float32), (width, height))
    fine = cv2.resize(rng.random((height // 4 + 1, width // 4 + 1)).astype(np.float32), (width, height))  # fmt: skip # noqa: E501
    yy, xx = np.mgrid[0:height, 0:width]
    light = np.exp(-(((xx - width / 2) / width) ** 2 + ((yy - height / 2) / height) ** 2) * 3)
    level = (0.55 + 0.3 * coarse + 0.15 * fine) * light * brightness
    return np.clip(level[..., None] * np.array([215, 95, 80]), 0, 255).astype(np.uint8)


def scene(count: int, size: tuple[int, int], shift: int, table: ClassTable) -> FrameResult:
    """A result with so many instruments; labels have 512x640 cells."""
    height, width = size
    labels = np.zeros((512, 640), np.uint8)
    sy, sx = height / 512, width / 640
    instruments = []
    rng = np.random.default_rng(5)
    side = int(np.ceil(np.sqrt(count)))
    for number in range(count):
        kind = 1 + number % (len(table) - 1)
        own = np.zeros_like(labels)
        if count <= 10:
            start = (660 - number % 2 * 680, int(rng.integers(40, 480)))
            end = (int(rng.integers(160, 480)) + shift // 3 % 40, int(rng.integers(100, 412)))
            cv2.line(own, start, end, 1, 26)
        else:
            cell_x, cell_y = 640 / side, 512 / side
            x, y = (number % side + 0.5) * cell_x, (number // side + 0.5) * cell_y
            radius = max(2, int(min(cell_x, cell_y) * 0.3))
            end = (int(x), int(y))
            cv2.circle(own, end, radius, 1, cv2.FILLED)
        labels[own > 0] = kind
        left, top, wide, high = cv2.boundingRect(own)
        instruments.append(
            Instrument(
                class_id=kind,
                class_name=table[kind].name,
                score=0.8 + (7 * number + 3 * shift) % 20 / 100,
                box=(left * sx, top * sy, (left + wide) * sx, (top + high) * sy),
                centroid=((left + wide / 2) * sx, (top + high / 2) * sy),
                area=float(cv2.countNonZero(own)) * sx * sy,
                axis=(1, 0),
                angle=0,
                tips=((end[0] * sx, end[1] * sy),),
                track_id=number + 1,
            )
        )
    return FrameResult(
        frame_id=0,
        time=0,
        captured_ns=0,
        age_ms=0,
        frame_size=size,
        labels=labels,
        instruments=tuple(instruments),
    )


if __name__ == "__main__":
    main()
