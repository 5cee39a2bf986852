"""Frames per second of the loader on 1080p sets, against a bare OpenCV loop of the same run.

    python benchmarks/loader.py --out benchmarks/results/loader.json

The bare loop reads image and mask, swaps the channels and resizes both, with one thread per
process. For N workers it runs in N processes, so that both use the same cores. Both read the set
several times, as training does; the start of the processes is included. Rates are given per second
and per second of processor time (of all processes), which other load on the machine affects less. A
cached epoch reads every frame from the cache that the epoch before filled, and resizes it again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import ClassTable
from trocar.train.data.loader.batch_stream import FrameDataset, loader, read_batch
from trocar.train.data.loader.frame_cache import FrameCache
from trocar.train.data.readers import open_frames
from trocar.train.data.sample import FrameSet
from trocar.train.data.transforms import NO_AUGMENT, Augment

SIZE = (512, 640)
BATCH = 8


def make_set(root: Path, suffix: str, frames: int) -> None:
    """Writes 1080p frames with the detail of a real one: smooth shapes, texture, sensor noise."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    ClassTable.from_names(["background", "a", "b"]).write(root / "classes.toml")
    rng = np.random.default_rng(0)
    for i in range(frames):
        coarse = rng.integers(0, 256, (34, 60, 3), dtype=np.uint8)
        frame = cv2.resize(coarse, (1920, 1080), interpolation=cv2.INTER_CUBIC).astype(np.float32)
        frame += rng.normal(0, 2.5, (1080, 1920, 1)).astype(np.float32)
        image = np.clip(frame, 0, 255).astype(np.uint8)
        mask = np.zeros((1080, 1920), np.uint8)
        cv2.line(mask, (0, 900), (900 + 5 * i, 500), 1, 90)
        cv2.circle(mask, (1300, 300 + 4 * i), 120, 2, -1)
        cv2.imwrite(str(root / "images" / f"{i:04d}.{suffix}"), image)
        cv2.imwrite(str(root / "masks" / f"{i:04d}.png"), mask)


def bare(pairs: list[tuple[str, str]]) -> None:
    cv2.setNumThreads(0)  # 1 would hang in a forked process whose parent used the pool
    size = (SIZE[1], SIZE[0])
    for image, mask in pairs:
        frame = cv2.cvtColor(cv2.imread(image), cv2.COLOR_BGR2RGB)
        cv2.resize(frame.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
        cv2.resize(
            cv2.imread(mask, cv2.IMREAD_UNCHANGED), size, interpolation=cv2.INTER_NEAREST_EXACT
        )


def bare_in_processes(pairs: list[tuple[str, str]], count: int) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=bare, args=(pairs[i::count],)) for i in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()


def load(dataset: FrameDataset, workers: int, passes: int) -> None:
    numbers = list(range(len(dataset))) * passes
    order = [numbers[i : i + BATCH] for i in range(0, len(numbers), BATCH)]
    for _ in loader(dataset, order, workers=workers):
        pass


def timed(work: Callable[[], None]) -> tuple[float, float]:
    """Seconds by the clock, and of processor time in this process and those it ended."""
    start, before = time.perf_counter(), _processor()
    work()
    return time.perf_counter() - start, _processor() - before


def _processor() -> float:
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def alternating(
    first: Callable[[], None], second: Callable[[], None], repeats: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Medians of clock and processor seconds of two jobs done in turn."""
    pairs = [(timed(first), timed(second)) for _ in range(repeats)]
    return np.median([a for a, _ in pairs], axis=0), np.median([b for _, b in pairs], axis=0)


def epochs(frames: FrameSet, augment: Augment) -> tuple[float, float]:
    """Processor seconds of an epoch that decodes and fills the cache, and of one that reads it."""
    cache = FrameCache(len(frames), megabytes=len(frames) * 1920 * 1080 * 4 // 2**20 + 1)
    dataset = FrameDataset(frames, augment, cache)

    def epoch() -> None:
        for position in range(len(dataset)):
            read_batch(dataset, [position])

    return timed(epoch)[1], timed(epoch)[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--passes", type=int, default=8, help="times over the set in each timing")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--formats", default="png,jpg")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()
    cv2.setNumThreads(0)
    print(f"{arguments.frames} frames of 1920x1080 with masks, to {SIZE[1]}x{SIZE[0]}")
    print("set  workers  frames/s: bare  loader  ratio   per processor second: bare  loader  ratio")
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for suffix in arguments.formats.split(","):
            root = Path(folder) / suffix
            make_set(root, suffix, arguments.frames)
            frames = open_frames(root)
            rows += compare(suffix, frames, arguments.passes, arguments.repeats)
    if arguments.out:
        document = {
            "frames": arguments.frames,
            "passes": arguments.passes,
            "repeats": arguments.repeats,
            "size": SIZE,
            "machine": f"{platform.machine()}, {multiprocessing.cpu_count()} processors",
            "opencv": cv2.__version__,
            "rows": rows,
        }
        arguments.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def compare(suffix: str, frames: FrameSet, passes: int, repeats: int) -> list[dict[str, Any]]:
    pairs = [(str(item.image), str(item.mask)) for item in frames] * passes
    augment = Augment(NO_AUGMENT, SIZE)
    dataset = FrameDataset(frames, augment)
    rows: list[dict[str, Any]] = []
    for workers in (1, 2):
        reference, ours = alternating(
            lambda n=workers: bare_in_processes(pairs, n),
            lambda n=workers: load(dataset, n, passes),
            repeats,
        )
        (bare_wall, bare_cpu), (wall, cpu) = len(pairs) / reference, len(pairs) / ours
        print(
            f"{suffix:4} {workers:7}  {bare_wall:14.1f}  {wall:6.1f}  {wall / bare_wall:5.2f}"
            f"  {bare_cpu:27.1f}  {cpu:6.1f}  {cpu / bare_cpu:5.2f}",
            flush=True,
        )
        rows.append(
            {
                "set": suffix,
                "workers": workers,
                "bare_per_second": round(bare_wall, 2),
                "loader_per_second": round(wall, 2),
                "ratio": round(wall / bare_wall, 3),
                "ratio_by_processor_time": round(cpu / bare_cpu, 3),
            }
        )
    first, again = epochs(frames, augment)
    print(f"{suffix:4} cached epoch: {first / again:.1f} times the rate of the first", flush=True)
    rows.append({"set": suffix, "cached_epoch_gain": round(first / again, 2)})
    return rows


if __name__ == "__main__":
    main()
