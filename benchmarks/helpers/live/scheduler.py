"""How long the threads of processes wait for a core: a fact of this machine, measured.

watch = SchedulerWatch({os.getpid(): None, sender.pid: 0}); watch.start(); watch.starved(0, now)

Linux counts for each thread how long it was ready and had no core (``schedstat``). A heartbeat
looks ten times a second, and notes how late it was itself.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections import deque
from collections.abc import Mapping
from pathlib import Path

from helpers.live.faults import Fault

BEAT_S = 0.1

WINDOW_S = 0.5
"""Seconds over which waiting is added up."""

WAITED_S = 0.15
"""Seconds within the window: a thread that waited longer for a core was starved."""


class SchedulerWatch(threading.Thread):
    """Notes when this machine starved a process.

    Args:
        processes: Number of the stream by process id; ``None`` for a process of all streams.

    Attributes:
        stalls: Times in which a thread of a process waited for a core, or the heartbeat came late.
        late_ms: Lateness of each heartbeat.
        waited_s: Seconds that all threads waited together.
    """

    def __init__(self, processes: Mapping[int, int | None]) -> None:
        super().__init__(daemon=True)
        self.stalls: list[Fault] = []
        # Ten a second: four bytes each, where a list of numbers takes 32.
        self.late_ms = array("f")
        self.waited_s = 0.0
        self._processes = processes
        self._before: dict[Path, float] = {}
        self._recent: dict[Path, deque[tuple[float, float]]] = {}
        self._ended = threading.Event()

    def run(self) -> None:
        """Looks until `end`."""
        due = time.monotonic()
        while not self._ended.is_set():
            due += BEAT_S
            time.sleep(max(0.0, due - time.monotonic()))
            now = time.monotonic()
            self.late_ms.append(max(0.0, now - due) * 1000)
            if now - due > WAITED_S:
                self._note(None, due, now)
                due = now
            for process, stream in self._processes.items():
                if self._starved(process, now):
                    self._note(stream, now - WINDOW_S, now)

    def end(self) -> None:
        """Ends it."""
        self._ended.set()

    def share(self, begun: float) -> float:
        """Share of the time since ``begun`` in which some process was starved."""
        spans = sorted((s.begin, s.end) for s in self.stalls if s.end > begun)
        covered, until = 0.0, begun
        for begin, end in spans:
            covered += max(0.0, end - max(begin, until))
            until = max(until, end)
        return covered / max(1e-9, time.monotonic() - begun)

    def starved(self, stream: int, moment: float) -> bool:
        """Whether the run or the sender of a stream was starved within a second before."""
        spans = (s for s in self.stalls if s.stream in (None, stream))
        return any(s.begin <= moment and s.end >= moment - 1.0 for s in spans)

    def _note(self, stream: int | None, begin: float, end: float) -> None:
        last = next((s for s in reversed(self.stalls[-4:]) if s.stream == stream), None)
        if last is not None and begin <= last.end:
            last.end = end
        else:
            self.stalls.append(Fault("starved", stream, begin, end))

    def _starved(self, process: int, now: float) -> bool:
        worst = 0.0
        seen = set()
        for file in Path(f"/proc/{process}/task").glob("*/schedstat"):
            try:
                waited = int(file.read_text().split()[1]) / 1e9
            except (OSError, IndexError, ValueError):
                continue  # The thread has ended.
            seen.add(file)
            more = waited - self._before.get(file, waited)
            self._before[file] = waited
            self.waited_s += more
            recent = self._recent.setdefault(file, deque())
            recent.append((now, more))
            while recent[0][0] < now - WINDOW_S:
                recent.popleft()
            worst = max(worst, sum(part for _, part in recent))
        for file in [f for f in self._before if f.parts[2] == str(process) and f not in seen]:
            del self._before[file]
            self._recent.pop(file, None)
        return worst > WAITED_S
