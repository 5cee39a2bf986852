"""Ten minutes of live mode at a rate that the model cannot keep up with.

python benchmarks/soak.py                                 # 100,000 frames or more, ten minutes
python benchmarks/soak.py --frames 6000 --seconds 30      # a taste

Prints ages, the slope of resident memory, the numbers of threads and file descriptors, and whether
every frame is counted; exits with an error if a check fails. No check depends on the speed of the
machine: the age of a result is counted in inferences. A result is at most two inferences old if its
frame was captured after the model had started on the frame before; a frame from a queue is older.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic_ns
from typing import Any

import numpy as np
from helpers.live.scenes import scene
from numpy.typing import NDArray

from trocar.contract.results import FrameResult
from trocar.runtime.draw.overlay import Painter
from trocar.runtime.live.run import LiveRun
from trocar.runtime.live.stream import LiveStream
from trocar.runtime.pipeline.counters import Summary
from trocar.runtime.pipeline.frame_processor import FrameProcessor
from trocar.runtime.session import Session
from trocar.runtime.sinks.records import Callback, JsonLines
from trocar.runtime.sources.base import Frame
from trocar.runtime.temporal.mask_smoothing import MaskSmoother
from trocar.runtime.temporal.presence import Presence
from trocar.runtime.temporal.tracking import Tracker

PAGE = os.sysconf("SC_PAGE_SIZE")
NOTES = 50_000
"""Memory samples, enough for four hours; allocated first, so that sampling allocates nothing."""

HERE = Path(__file__).resolve().parent

_MAKE = """
import pathlib, sys
from helpers.live.model import deeplab_bundle
deeplab_bundle(
    pathlib.Path(sys.argv[1]), height=int(sys.argv[2]), width=int(sys.argv[3]), encoder=sys.argv[4]
)
"""


class Endless:
    """A camera of 320x240 that gives a number of frames and runs for a minimum time."""

    name, live, total = "soak", True, None

    def __init__(self, *, fps: float, frames: int, seconds: float) -> None:
        self.fps: float | None = fps
        self._frames = frames
        self._seconds = seconds
        self._closed = False
        self._pictures = [scene(i, 240, 320) for i in range(40)]

    def frames(self) -> Iterator[Frame]:
        """Gives frames at their time; after a pause of the whole machine it goes on from there."""
        assert self.fps
        begun = due = time.monotonic()
        index = 0
        while not self._closed and (
            index < self._frames or time.monotonic() - begun < self._seconds
        ):
            now = time.monotonic()
            due = max(due + 1 / self.fps, now - 0.1)
            time.sleep(max(0.0, due - now))
            yield Frame(
                image=self._pictures[index % len(self._pictures)],
                index=index,
                time=index / self.fps,
                captured_ns=monotonic_ns(),
            )
            index += 1

    def close(self) -> None:
        """Stops."""
        self._closed = True


@dataclass
class Turns:
    """A step that counts results whose frame waited for more than two inferences."""

    name: str = "turns"
    ends: list[int] = field(default_factory=list)
    results: int = 0
    late: int = 0

    def apply(self, frame: Frame, result: FrameResult) -> FrameResult:
        """Count a result whose frame was captured before the last two inferences."""
        self.ends = [*self.ends, monotonic_ns()][-3:]
        self.results += 1
        if len(self.ends) == 3 and frame.captured_ns < self.ends[0]:
            self.late += 1
        return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--fps", type=float, help="default: above what the model does, and 180")
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = soak(Path(folder), given)
    if given.json is not None:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    for text, good in figures["checks"].items():
        print("ok  " if good else "BAD ", text)
    sys.exit(0 if all(figures["checks"].values()) else "the soak failed: see above")


def soak(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    model = make_model(folder)
    # The first run creates the threads and files that libraries use until the process ends.
    live(model, folder / "warm.jsonl", fps=given.fps, frames=200, seconds=0.0)
    threads = threading.active_count()
    descriptors = len(os.listdir("/proc/self/fd"))
    run = live(
        model, folder / "out.jsonl", fps=given.fps, frames=given.frames, seconds=given.seconds
    )
    ends = time.monotonic() + 10
    while threading.active_count() > threads and time.monotonic() < ends:
        time.sleep(0.05)
    leaked = threading.active_count() - threads
    gc.collect()
    opened = len(os.listdir("/proc/self/fd")) - descriptors
    slope, error, level = trend(run.memory)
    turns, summary = run.turns, run.summary
    counts, age, infer = summary.counts, summary.stages["age"], summary.stages["infer"]
    return {
        "command": "python " + " ".join(sys.argv),
        "seconds": round(summary.seconds, 1),
        "fps": round(run.fps, 1),
        "read": counts.read,
        "shown": counts.written,
        "dropped": counts.dropped,
        "analysed": counts.processed,
        "infer_ms": {"p50": infer.percentile(50), "p99": infer.percentile(99)},
        "age_ms": {"p50": age.percentile(50), "p99": age.percentile(99), "max": age.max_ms},
        "older_than_two_turns": turns.late,
        "memory_mb": level,
        "memory_slope_mb_a_minute": slope,
        "memory_slope_error": error,
        "threads_left": leaked,
        "descriptors_left": opened,
        "checks": {
            f"at least {given.frames} frames: {counts.read}": counts.read >= given.frames,
            f"read {counts.read} = shown {counts.written} + dropped {counts.dropped}": counts.read
            == counts.written + counts.dropped,
            f"the model could not keep up: {counts.processed} analysed": counts.processed
            < 0.9 * counts.read,
            f"{turns.late} of {turns.results} results older than two turns of the model (age p50 "
            f"{age.percentile(50):.1f}, p99 {age.percentile(99):.1f}, max {age.max_ms:.1f} ms; one "
            f"inference p50 {infer.percentile(50):.1f} ms)": turns.late
            <= max(2, turns.results / 1000),
            # Within noise: not told from zero, or under a hundredth of all in the whole run.
            f"memory {level:.1f} MB, slope {slope:+.4f} ± {error:.4f} MB a minute": slope
            < max(2 * error, level / 100 / max(1.0, summary.seconds / 60)),
            f"threads left over: {leaked}": leaked <= 0,
            f"file descriptors left over: {opened}": opened <= 0,
        },
    }


def make_model(
    folder: Path,
    *,
    height: int = 128,
    width: int = 160,
    encoder: str = "timm-mobilenetv3_small_100",
) -> Path:
    """A small bundle, made in another process: torch is not part of the measured memory."""
    model = folder / "model.trocar"
    words = [str(model), str(height), str(width), encoder]
    subprocess.run([sys.executable, "-c", _MAKE, *words], cwd=HERE, check=True)
    return model


@dataclass(frozen=True, kw_only=True)
class Run:
    """One live run: its rate, what it did, and resident megabytes over time in seconds."""

    fps: float
    turns: Turns
    summary: Summary
    memory: NDArray[np.float64]


def live(model: Path, out: Path, *, fps: float | None, frames: int, seconds: float) -> Run:
    """Run the camera through a live run with everything except the monitor page."""
    turns = Turns()
    memory = np.full((NOTES, 2), np.nan)
    noted = 0
    with Session.open(model, threads=1, spinning=False) as session:
        fps = fps or max(180.0, 1.6 * sustained(session))
        stream = LiveStream(
            Endless(fps=fps, frames=frames, seconds=seconds),
            FrameProcessor(
                session,
                smoother=MaskSmoother(),
                post_processors=[Tracker(), Presence(session.classes), turns],
            ),
            painter=Painter(session.classes),
            sinks=[JsonLines(out, live=True), Callback(lambda event: event.overlay())],
        )
        run = LiveRun(session, [stream])
        begun = time.monotonic()

        def note(run: LiveRun) -> None:
            nonlocal noted
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            memory[min(noted, NOTES - 1)] = time.monotonic() - begun, pages * PAGE / 1e6
            noted += 1

        run.start()
        run.wait(report=note)
        (summary,) = run.stop()
    return Run(fps=fps, turns=turns, summary=summary, memory=memory[:noted])


def sustained(session: Session) -> float:
    """Frames per second of the model alone."""
    image = scene(0, 240, 320)
    times = []
    for _ in range(60):
        started = monotonic_ns()
        session.run(image)
        times.append((monotonic_ns() - started) / 1e9)
    return 1 / statistics.median(times)


def trend(memory: NDArray[np.float64]) -> tuple[float, float, float]:
    """Slope of memory in MB a minute with its standard error, and its mean, after a warm-up.

    Neighbouring samples are correlated, so the error is computed from the means of twenty parts.
    """
    settled = memory[len(memory) // 5 :]
    parts = [part.mean(axis=0) for part in np.array_split(settled, min(20, len(settled)))]
    minutes, level = np.array(parts).T
    minutes = minutes / 60
    slope, offset = np.polyfit(minutes, level, 1)
    rest = level - slope * minutes - offset
    spread = float(((minutes - minutes.mean()) ** 2).sum())
    error = float(np.sqrt((rest**2).sum() / max(1, len(parts) - 2) / max(spread, 1e-12)))
    return float(slope), error, float(settled[:, 1].mean())


if __name__ == "__main__":
    main()
