"""How the time of tracking grows with the number of instruments: 1, 10, 100 and 1000, and phantoms.

python benchmarks/tracking_scaling.py --json benchmarks/results/tracking_scaling.json

N instruments of one class stand on a grid and move by half a pixel a frame; each enters at a place
of its own. Tracking follows the 64 largest ones; it is measured without this limit too. The last
row is a clip of phantom truth, with persistence as `trocar run` has it. Processor time of one core
in milliseconds a frame: the least of all rounds for each frame, then the mean over the frames.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from time import thread_time
from typing import Any

import cv2
import numpy as np

from trocar.contract.results import FrameResult, Instrument
from trocar.runtime.locate.instruments import locate
from trocar.runtime.sources.base import Frame
from trocar.runtime.temporal.options import PersistenceOptions, TrackOptions
from trocar.runtime.temporal.tracking import Tracker
from trocar.train.data.phantom import PhantomConfig, phantom_frames, phantom_table

COUNTS = (1, 10, 100, 1000)
SIZE = (1080, 1920)
PERIOD_S = 0.04


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=20, help="of each number of instruments")
    parser.add_argument("--phantom-frames", type=int, default=75)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args()
    cv2.setNumThreads(1)
    figures: dict[str, Any] = {"command": "python " + " ".join(sys.argv)}
    for count in COUNTS:
        clip = [frame_of(grid(count, 0.5 * number), SIZE, number) for number in range(given.frames)]
        for name, limit in (("64 are tracked", 64), ("all are tracked", 1000)):
            options = TrackOptions(max_tracked=limit)
            figures.setdefault(name, {})[str(count)] = measured(clip, options, given.rounds)
            print(f"{name}: {count} instruments, {figures[name][str(count)]:.3f} ms a frame")
    clip = phantom_clip(given.phantom_frames)
    figures["phantom instruments a frame"] = round(
        sum(len(result.instruments) for _, result in clip) / len(clip), 2
    )
    figures["phantom"] = measured(clip, TrackOptions(), given.rounds)
    print(f"phantom clip: {figures['phantom']:.3f} ms a frame")
    if given.json is not None:
        given.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def grid(count: int, shift: float) -> list[Instrument]:
    """Bars of 40x8 pixels; the left end of each is its entry, the right end its tip."""
    side = int(np.ceil(np.sqrt(count)))
    wide, high = SIZE[1] / side, SIZE[0] / side
    bars = []
    for number in range(count):
        x, y = number % side * wide + shift, (number // side + 0.5) * high
        bars.append(
            Instrument(
                class_id=1,
                class_name="grasper",
                score=0.9,
                box=(x, y - 4, x + 40, y + 4),
                centroid=(x + 20, y),
                area=320.0,
                axis=(1.0, 0.0),
                angle=0.0,
                tips=((x + 40, y),),
                entry=(x, y),
                touches_border=True,
            )
        )
    return bars


def frame_of(
    instruments: list[Instrument], size: tuple[int, int], number: int
) -> tuple[Frame, FrameResult]:
    image = np.zeros((1, 1, 3), np.uint8)
    return pair(image, tuple(instruments), size, number, number * PERIOD_S)


def pair(
    image: Any, found: tuple[Instrument, ...], size: tuple[int, int], number: int, time: float
) -> tuple[Frame, FrameResult]:
    frame = Frame(image=image, index=number, time=time, captured_ns=0)
    result = FrameResult(
        frame_id=number, time=time, captured_ns=0, age_ms=0, frame_size=size, instruments=found
    )
    return frame, result


def phantom_clip(frames: int) -> list[tuple[Frame, FrameResult]]:
    """One clip of a scene with its true label maps."""
    table = phantom_table()
    config = PhantomConfig(frames=frames, seed=11, clip_length=frames)
    return [
        pair(f.image, locate(f.types, None, table, f.types.shape), f.types.shape, i, f.time)
        for i, f in enumerate(phantom_frames(config))
    ]


def measured(clip: list[tuple[Frame, FrameResult]], options: TrackOptions, rounds: int) -> float:
    """Mean milliseconds of a frame, without the first one."""
    least = np.full(len(clip), np.inf)
    for _ in range(rounds):
        tracker = Tracker(options, PersistenceOptions())
        for number, (frame, result) in enumerate(clip):
            started = thread_time()
            tracker.apply(frame, result)
            least[number] = min(least[number], (thread_time() - started) * 1e3)
    return round(float(least[1:].mean()), 3)


if __name__ == "__main__":
    main()
