"""Frames per second of the loader on 1080p sets, against a bare OpenCV loop and a plain DataLoader.

    python benchmarks/loader.py --out benchmarks/results/loader.json

The bare loop reads picture and mask, swaps the channels and resizes both, one thread a process;
with N workers it runs in N processes at once, so that both have the same cores. The plain
DataLoader reads the same data set in the same worker processes and hands batches over as torch
does, in a new shared-memory file for each tensor; the loader hands them over in its ring. All go
over the set several times, as training does, and with it over the start of the processes.

The three take turns in every round. Ratios are those of one round, given as median, smallest and
largest. Rates are given by the clock and by processor time (start-up, hand-over between processes
and the main process included), which other programs on the machine disturb less. A cached epoch
reads every frame from the cache that the epoch before filled, and resizes it as the first one does.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from trocar.contract.classes import ClassTable
from trocar.train.data.loader.batch_stream import Batch, FrameDataset, data_loader, read_batch
from trocar.train.data.loader.frame_cache import FrameCache
from trocar.train.data.loader.shared_memory import PREFETCH, start_worker
from trocar.train.data.readers import open_frames
from trocar.train.data.sample import FrameSet
from trocar.train.data.transforms import NO_AUGMENT, Augment

SIZE = (512, 640)
BATCH = 8
CACHED = 4  # cached frames take less time: more passes make the timings as long


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


def order(dataset: FrameDataset, passes: int) -> list[list[int]]:
    numbers = list(range(len(dataset))) * passes
    return [numbers[i : i + BATCH] for i in range(0, len(numbers), BATCH)]


def load(dataset: FrameDataset, workers: int, passes: int) -> None:
    for _ in data_loader(dataset, order(dataset, passes), workers=workers):
        pass


def load_plain(dataset: FrameDataset, workers: int, passes: int) -> None:
    """The same with torch's own hand-over between the processes."""
    batches: DataLoader[Batch] = DataLoader(
        dataset,  # type: ignore[arg-type]
        batch_sampler=order(dataset, passes),
        num_workers=workers,
        collate_fn=unchanged,
        worker_init_fn=start_worker,
        multiprocessing_context="fork",
        prefetch_factor=PREFETCH,
        generator=torch.Generator(),
    )
    for _ in batches:
        pass


def unchanged(batch: Batch) -> Batch:
    return batch


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


def in_turn(jobs: Sequence[Callable[[], None]], rounds: int) -> NDArray[np.float64]:
    """``[rounds, jobs, 2]`` clock and processor seconds of jobs that take turns."""
    seconds = np.empty((rounds, len(jobs), 2))
    for turn in range(rounds):
        # Each round starts with another job: none is always the first.
        for place in range(len(jobs)):
            job = (turn + place) % len(jobs)
            seconds[turn, job] = timed(jobs[job])
    return seconds


def spread(ratios: NDArray[np.float64]) -> list[float]:
    """Median, smallest and largest."""
    return [round(float(v), 3) for v in (np.median(ratios), ratios.min(), ratios.max())]


def full_cache(frames: FrameSet) -> FrameCache:
    """An empty cache that takes all frames of the set."""
    return FrameCache(len(frames), megabytes=len(frames) * 1920 * 1080 * 4 // 2**20 + 1)


def epochs(frames: FrameSet, augment: Augment) -> tuple[float, float]:
    """Processor seconds of an epoch that decodes and fills the cache, and of one that reads it."""
    dataset = FrameDataset(frames, augment, full_cache(frames))

    def epoch() -> None:
        for position in range(len(dataset)):
            read_batch(dataset, [position])

    return timed(epoch)[1], timed(epoch)[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--passes", type=int, default=8, help="times over the set in each timing")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--formats", default="png,jpg")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()
    cv2.setNumThreads(0)
    print(f"{arguments.frames} frames of 1920x1080 with masks, to {SIZE[1]}x{SIZE[0]}")
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for suffix in arguments.formats.split(","):
            root = Path(folder) / suffix
            make_set(root, suffix, arguments.frames)
            frames = open_frames(root)
            rows += compare(suffix, frames, arguments.passes, arguments.rounds)
    if arguments.out:
        document = {
            "frames": arguments.frames,
            "passes": arguments.passes,
            "rounds": arguments.rounds,
            "size": SIZE,
            "machine": f"{platform.machine()}, {multiprocessing.cpu_count()} processors",
            "opencv": cv2.__version__,
            "rows": rows,
        }
        arguments.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def compare(suffix: str, frames: FrameSet, passes: int, rounds: int) -> list[dict[str, Any]]:
    pairs = [(str(item.image), str(item.mask)) for item in frames] * passes
    augment = Augment(NO_AUGMENT, SIZE)
    dataset = FrameDataset(frames, augment)
    filled = FrameDataset(frames, augment, full_cache(frames))
    for batch in order(filled, 1):
        read_batch(filled, batch)
    rows: list[dict[str, Any]] = []
    for workers in (1, 2):
        bare_s, plain_s, ours_s, plain_cached_s, ours_cached_s = np.moveaxis(
            in_turn(
                [
                    lambda n=workers: bare_in_processes(pairs, n),
                    lambda n=workers: load_plain(dataset, n, passes),
                    lambda n=workers: load(dataset, n, passes),
                    lambda n=workers: load_plain(filled, n, CACHED * passes),
                    lambda n=workers: load(filled, n, CACHED * passes),
                ],
                rounds,
            ),
            1,
            0,
        )
        row = {"set": suffix, "workers": workers}
        for name, seconds in (("bare", bare_s), ("plain", plain_s), ("loader", ours_s)):
            row[f"{name}_per_second"] = round(len(pairs) / float(np.median(seconds[:, 0])), 2)
        for unit, column in (("clock", 0), ("processor_time", 1)):
            for name, a, b in (
                ("loader_to_bare", bare_s, ours_s),
                ("loader_to_plain", plain_s, ours_s),
                ("loader_to_plain_cached", plain_cached_s, ours_cached_s),
            ):
                row[f"{name}_by_{unit}"] = spread(a[:, column] / b[:, column])
        print(json.dumps(row), flush=True)
        rows.append(row)
    first, again = epochs(frames, augment)
    print(f"{suffix:4} cached epoch: {first / again:.1f} times the rate of the first", flush=True)
    rows.append({"set": suffix, "cached_epoch_gain": round(first / again, 2)})
    return rows


if __name__ == "__main__":
    main()
