"""Whether location by the kernels equals that of the CPU, on generated scenes, emulated.

python benchmarks/device_location.py --json benchmarks/results/device_location.json

Label maps of phantom scenes go through the kernels, which the host compiler compiles for this
machine, and through `locate`. Every number of every instrument must be equal to the last bit. By
turns the maps have types alone or types with parts, no confidences or such of one of three types,
the full frame or a field of view, and the kernels run under each of four block shapes and both
orders of the threads. The time of a frame says nothing about a GPU.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from time import thread_time
from typing import Any

import cv2
import numpy as np
import torch
from live_location import with_parts
from numpy.typing import NDArray

from trocar.contract.location import LocationOptions
from trocar.contract.results import Instrument
from trocar.cuda_kernels.backends.emulation import HostLauncher
from trocar.cuda_kernels.backends.launch_plan import Tuning
from trocar.cuda_kernels.location.kernels import LocationKernels
from trocar.runtime.device_memory.located import locate_on_device
from trocar.runtime.locate.field_of_view import FieldOfView
from trocar.runtime.locate.instruments import locate
from trocar.train.data.phantom import PhantomConfig, phantom_frames, phantom_table

FRAME = (1080, 1920)
SIZE = (256, 320)
TUNINGS = (
    Tuning(threads=32, blocks=1),
    Tuning(threads=64, blocks=3),
    Tuning(threads=128, blocks=64),
    Tuning(),
)
CONFIDENCES = (None, np.uint8, np.float16, np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--workers", type=int, default=4, help="processes; each has its own seed")
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args()
    counts: Counter[str] = Counter()
    parts = [(given.seed + i, given.frames // given.workers) for i in range(given.workers)]
    with tempfile.TemporaryDirectory() as folder:
        # Compiled once, before the workers look for the libraries.
        compare_part(given.seed, 16, Path(folder))
        with ProcessPoolExecutor(given.workers, get_context("spawn")) as pool:
            jobs = [pool.submit(compare_part, *part, Path(folder)) for part in parts]
            for job in jobs:
                counts += job.result()
                print(dict(counts), flush=True)
    figures = {
        "command": "python " + " ".join(sys.argv),
        "map_size": f"{SIZE[1]}x{SIZE[0]}",
        "frame_size": f"{FRAME[1]}x{FRAME[0]}",
        "block_shapes": [f"{t.threads} threads, {t.blocks} blocks" for t in TUNINGS],
        "frames_that_differ": counts["frames_that_differ"],
        **{key: counts[key] for key in sorted(counts)},
    }
    if given.json is not None:
        given.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    if counts["frames_that_differ"]:
        raise SystemExit(f"{counts['frames_that_differ']} frames differ")


def compare_part(seed: int, frames: int, folder: Path) -> Counter[str]:
    """Scenes of one seed through both; gives what was seen.

    Args:
        seed: Of the scenes.
        frames: Their number.
        folder: Where the compiled kernels are.
    """
    cv2.setNumThreads(1)
    counts: Counter[str] = Counter()
    devices = [
        LocationKernels(HostLauncher(folder, tuning, backwards=backwards))
        for tuning in TUNINGS
        for backwards in (False, True)
    ]
    scenes = list(phantom_frames(PhantomConfig(frames=frames, seed=seed, clip_length=4, size=SIZE)))
    table, parts = with_parts(scenes)
    for number, (scene, part) in enumerate(zip(scenes, parts, strict=True)):
        has_parts = number % 2 == 1
        labels = np.ascontiguousarray(part if has_parts else scene.types)
        classes = table if has_parts else phantom_table()
        # Of eight frames in a row, each meets another block shape or order of the threads.
        compare(counts, number, devices[number % len(devices)], labels, classes, seed)
    return counts


def compare(
    counts: Counter[str],
    number: int,
    device: LocationKernels,
    labels: NDArray[np.uint8],
    table: Any,
    seed: int,
) -> None:
    """One map through both; counts what was seen."""
    random = np.random.default_rng([seed, number])
    kind = CONFIDENCES[number // 2 % 4]
    confidence: NDArray[Any] | None = None
    if kind is not None:
        values = 0.55 + 0.45 * random.random(labels.shape)
        confidence = (values * 255).astype(kind) if kind is np.uint8 else values.astype(kind)
    view = None
    if number % 3 == 0:
        view = FieldOfView(x=960 + 40 * random.random(), y=540.0, radius=640.0)
    options = LocationOptions()
    maps = [None if each is None else torch.from_numpy(each) for each in (labels, confidence)]
    started = thread_time()
    found = locate_on_device(device, maps[0], maps[1], table, FRAME, options, view=view)
    counts["emulated_ms"] += round(1000 * (thread_time() - started))
    wanted = locate(labels, confidence, table, FRAME, options, view=view)
    counts["frames"] += 1
    counts["frames_that_differ"] += found != wanted
    count(counts, wanted)


def count(counts: Counter[str], instruments: tuple[Instrument, ...]) -> None:
    """Adds what the instruments of a frame show."""
    counts["instruments"] += len(instruments)
    counts["open_jaws"] += sum(len(one.tips) == 2 for one in instruments)
    counts["single_tips"] += sum(len(one.tips) == 1 for one in instruments)
    counts["without_entry"] += sum(one.entry is None for one in instruments)
    counts["frames_with_instruments"] += bool(instruments)


if __name__ == "__main__":
    main()
