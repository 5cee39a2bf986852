"""Frames per second at which phantom scenes are rendered, on one core.

python benchmarks/phantom_speed.py --frames 50 --repeats 5

On a machine that does other work too, the fastest of the repeats is taken for each frame.
"""

from __future__ import annotations

import argparse
import itertools
import os
import time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=50)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=512)
    parser.add_argument("--difficulty", type=float, default=0.5)
    parser.add_argument("--clip-length", type=int, default=25)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")

    import cv2

    from trocar.train.data.phantom import PHANTOM_DOMAINS, PhantomConfig, phantom_frames

    cv2.setNumThreads(1)
    print(
        f"{options.frames} frames of {options.width}x{options.height}, a new scene each "
        f"{options.clip_length}, difficulty {options.difficulty:g}, one core, "
        f"{options.repeats} repeats"
    )
    for domain in PHANTOM_DOMAINS:
        config = PhantomConfig(
            frames=options.frames,
            size=(options.height, options.width),
            domain=domain,
            difficulty=options.difficulty,
            clip_length=options.clip_length,
        )
        runs: list[list[float]] = []
        busy = time.process_time()
        for _ in range(options.repeats):
            times = [time.perf_counter()]
            times += [time.perf_counter() for _ in phantom_frames(config)]
            runs.append([b - a for a, b in itertools.pairwise(times)])
        busy = time.process_time() - busy
        fastest = [min(step) for step in zip(*runs, strict=True)]
        whole = [options.frames / sum(run) for run in runs]
        print(
            f"{domain:12s} {options.frames / sum(fastest):6.1f} frames/s from the fastest of each "
            f"frame; whole runs {min(whole):.1f} to {max(whole):.1f}; "
            f"{options.frames * options.repeats / busy:.1f} per second of processor time"
        )


if __name__ == "__main__":
    main()
