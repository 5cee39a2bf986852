"""What many regions in a mask cost a live run: locating, tracking, drawing; 10, 100 and 1000.

python benchmarks/live_regions.py --json benchmarks/results/live_regions.json

The masks are those of ``location_scaling.py``: bars of one class at 640x512. With the limit of live
runs (``--max-regions``, 256) the smallest regions are left out first; without it all are kept.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import cv2
import numpy as np
from location_scaling import SIZE, TABLE, bars

from trocar.contract.location import LocationOptions
from trocar.contract.results import FrameResult
from trocar.runtime.draw.overlay import Painter
from trocar.runtime.live._region_limit import RegionLimit
from trocar.runtime.locate.instruments import locate
from trocar.runtime.pipeline.options import LiveOptions
from trocar.runtime.sources.base import Frame
from trocar.runtime.temporal.tracking import Tracker

COUNTS = (10, 100, 1000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args()
    cv2.setNumThreads(1)
    figures: dict[str, Any] = {
        "command": "python " + " ".join(sys.argv),
        "unit": "milliseconds of processor time per frame, median",
    }
    for name, most in (("limit of live runs", LiveOptions().max_regions), ("no limit", 0)):
        figures[name] = {}
        for count in COUNTS:
            row = measured(count, most, given.repeats)
            figures[name][str(count)] = row
            print(f"{name}, {count} regions: {row}")
    if given.json is not None:
        given.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def measured(count: int, most: int, repeats: int) -> dict[str, float]:
    """Milliseconds of each stage, after three frames that let tracks begin."""
    limit, tracker, painter = RegionLimit(most), Tracker(), Painter(TABLE)
    options = LocationOptions(min_pixels=1, min_area=0.0, max_regions=most)
    image = np.full((*SIZE, 3), 90, np.uint8)
    times: dict[str, list[float]] = {}

    def timed(stage: str, call: Callable[..., Any], *given: Any) -> Any:
        started = process_time()
        value = call(*given)
        times.setdefault(stage, []).append((process_time() - started) * 1e3)
        return value

    found = 0
    for index in range(repeats + 3):
        frame = Frame(image=image, index=index, time=index / 25, captured_ns=0)
        labels, _ = timed("limit", limit.apply, bars(count))
        located = timed("locate", locate, labels, None, TABLE, SIZE, options)
        result = FrameResult(
            frame_id=index, time=frame.time, captured_ns=0, age_ms=0.0, frame_size=SIZE,
            labels=labels, instruments=located,
        )  # fmt: skip
        result = timed("track", tracker.apply, frame, result)
        timed("draw", painter.draw, image, result)
        found = len(located)
    row = {stage: round(statistics.median(each[3:]), 2) for stage, each in times.items()}
    return {"found": found, **row, "sum": round(sum(row.values()), 2)}


if __name__ == "__main__":
    main()
