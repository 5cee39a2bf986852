"""How the time of `locate` grows with the number of regions: 1, 10, 100 and 1000.

python benchmarks/location_scaling.py --json benchmarks/results/location_scaling.json

A label map of 640x512 holds N bars of one class with the same shape, at the places of a grid. The
options of a new model look at 256 regions at most; the same map is measured without this limit too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from dataclasses import replace
from pathlib import Path
from time import thread_time
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import ClassTable
from trocar.contract.location import LocationOptions
from trocar.runtime.locate.instruments import locate

SIZE = (512, 640)
COUNTS = (1, 10, 100, 1000)
TABLE = ClassTable.from_names(["background", "grasper"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args()
    cv2.setNumThreads(1)
    limits = {"at most 256 regions": LocationOptions(min_pixels=1, min_area=0.0)}
    limits["all regions"] = replace(limits["at most 256 regions"], max_regions=0)
    figures: dict[str, Any] = {"command": "python " + " ".join(sys.argv)}
    for name, options in limits.items():
        figures[name] = {}
        for count in COUNTS:
            labels = bars(count)
            found = len(locate(labels, None, TABLE, SIZE, options))
            ms = measured(labels, options, given.repeats)
            figures[name][str(count)] = {"found": found, "ms": round(ms, 2)}
            print(f"{name}: {count} regions, {found} found, {ms:.2f} ms, {ms / count:.3f} ms each")
    if given.json is not None:
        given.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def bars(count: int) -> NDArray[np.uint8]:
    """``[512, 640]`` uint8 with ``count`` bars of 8x3 pixels in places of a grid of 1024."""
    labels = np.zeros(SIZE, np.uint8)
    order = np.random.default_rng(0).permutation(1024)[:count]
    for place in order:
        y, x = 16 * int(place // 32) + 6, 20 * int(place % 32) + 6
        labels[y : y + 3, x : x + 8] = 1
    return labels


def measured(labels: NDArray[np.uint8], options: LocationOptions, repeats: int) -> float:
    """Median processor time of one call, in milliseconds."""
    times = []
    for _ in range(repeats):
        started = thread_time()
        locate(labels, None, TABLE, SIZE, options)
        times.append((thread_time() - started) * 1e3)
    return statistics.median(times)


if __name__ == "__main__":
    main()
