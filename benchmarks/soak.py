"""Ten minutes of live mode at a rate that the model cannot keep up with.

python benchmarks/soak.py                 # at least 100,000 frames, ten minutes
python benchmarks/soak.py --seconds 30    # a taste

Prints ages, the slope of resident memory, threads and file descriptors, and whether every frame is
accounted for; ends with an error when one of them is not as promised.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from time import monotonic_ns

import live_kit
import numpy as np

from trocar.runtime.analyse import Analyser
from trocar.runtime.live import LiveRun
from trocar.runtime.overlay import Painter
from trocar.runtime.records import JsonLines
from trocar.runtime.session import Session
from trocar.runtime.smoothing import MaskSmoother, Presence
from trocar.runtime.sources import Frame
from trocar.runtime.stream import LiveOptions, LiveStream
from trocar.runtime.tracking import Tracker

PAGE = os.sysconf("SC_PAGE_SIZE")


class Endless:
    """A camera of 320x240 that gives so many frames a second for so long."""

    name, live, total = "soak", True, None

    def __init__(self, *, fps: float, seconds: float) -> None:
        self.fps: float | None = fps
        self._seconds = seconds
        self._closed = False
        self._pictures = [live_kit.scene(i, 240, 320) for i in range(40)]

    def frames(self) -> Iterator[Frame]:
        """Gives frames at their time."""
        begun = time.monotonic()
        index = 0
        assert self.fps
        while not self._closed and time.monotonic() - begun < self._seconds:
            time.sleep(max(0.0, begun + index / self.fps - time.monotonic()))
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--fps", type=float, default=200.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(0 if soak(Path(folder), given) else "the soak failed: see above")


def soak(folder: Path, given: argparse.Namespace) -> bool:
    model = live_kit.deeplab_bundle(folder / "model.trocar", height=128, width=160)
    descriptors = len(os.listdir("/proc/self/fd"))
    with Session.open(model, threads=1, spinning=False) as session:
        stream = LiveStream(
            Endless(fps=given.fps, seconds=given.seconds),
            Analyser(
                session,
                smoother=MaskSmoother(),
                steps=[Tracker(), Presence(session.classes)],
            ),
            Painter(session.classes),
            [JsonLines(folder / "out.jsonl", direct=True)],
            options=LiveOptions(),
        )
        run = LiveRun(session, [stream])
        memory: list[tuple[float, float]] = []
        begun = time.monotonic()

        def note(run: LiveRun) -> None:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            memory.append((time.monotonic() - begun, pages * PAGE / 1e6))

        threads = threading.active_count()
        run.start()
        run.wait(report=note)
        (summary,) = run.stop()
        time.sleep(0.5)
        threads_left = threading.active_count() - (threads - 1)
    counts = summary.counts
    age = stream.stages["age"]
    late = np.array(memory[len(memory) // 5 :])
    slope = float(np.polyfit(late[:, 0], late[:, 1], 1)[0]) * 60
    noise = float(
        np.std(late[:, 1] - np.polyval(np.polyfit(late[:, 0], late[:, 1], 1), late[:, 0]))
    )
    checks = {
        f"read {counts.read} = shown {counts.written} + dropped {counts.dropped}": counts.read
        == counts.written + counts.dropped,
        f"the model could not keep up: {counts.processed} analysed": counts.processed
        < counts.read * 0.9,
        f"age p50 {age.percentile(50):.1f}, p99 {age.percentile(99):.1f}, "
        f"max {age.max_ms:.1f} ms": age.percentile(99) < 20 * stream.stages["infer"].percentile(50),
        f"memory {late[:, 1].mean():.0f} MB, slope {slope:+.2f} MB a minute, noise "
        f"{noise:.2f} MB": slope * given.seconds / 60 < max(5.0, 3 * noise),
        f"threads left over: {threads_left - 1}": threads_left <= 1,
        f"file descriptors left over: {len(os.listdir('/proc/self/fd')) - descriptors}": len(
            os.listdir("/proc/self/fd")
        )
        <= descriptors + 1,
    }
    for text, good in checks.items():
        print("ok  " if good else "BAD ", text)
    return all(checks.values())


if __name__ == "__main__":
    main()
