"""Memory, threads and descriptors of this process over time, and whether they grow.

curves = Curves(); curves.add(5.0, 2500); grown = growth(curves.points, warm_up_s=300.0)
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import theilslopes

CURVE = 300
"""Points of the curves that are written."""

COLUMNS = ["seconds", "frames", "MB", "threads", "descriptors", "heap MB"]

FEWEST = 60
"""Points after the warm-up from which on growth is judged."""

_PAGE = os.sysconf("SC_PAGE_SIZE")

Point = tuple[float, int, float, int, int, float]


class _MallInfo(ctypes.Structure):
    # In the order of <malloc.h>; the eighth is what is in use, the fifth what is mapped.
    _fields_ = [(f"field_{number}", ctypes.c_size_t) for number in range(10)]


@dataclass
class Curves:
    """Points of `COLUMNS` over time."""

    points: list[Point] = field(default_factory=list)

    def add(self, seconds: float, frames: int) -> None:
        """Looks at this process."""
        threads, files = threading.active_count(), len(os.listdir("/proc/self/fd"))
        self.points.append(
            (round(seconds, 1), frames, resident_mb(), threads, files, heap_mb()),
        )

    def thinned(self) -> list[Point]:
        """`CURVE` points at most."""
        return self.points[:: 1 + len(self.points) // CURVE]


def resident_mb() -> float:
    """Resident memory in megabytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * _PAGE / 1e6, 1)


def heap_mb() -> float:
    """Megabytes that were taken from glibc and not given back; NaN elsewhere.

    Resident memory that grows while this stays level is free memory that glibc keeps.
    """
    try:
        info: Any = ctypes.CDLL(None).mallinfo2
    except (OSError, AttributeError):
        return float("nan")
    info.restype = _MallInfo
    now = info()
    return round((now.field_7 + now.field_4) / 1e6, 1)


def given_back_mb() -> float:
    """Megabytes that glibc gives back when it is told to: free memory that it had kept."""
    before = resident_mb()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        return 0.0
    time.sleep(0.1)
    return round(before - resident_mb(), 1)


@dataclass(frozen=True, kw_only=True)
class Growth:
    """Slope of the memory after the warm-up.

    Attributes:
        level_mb: Median.
        slope: Megabytes a minute: the median of the slopes between all pairs of points (Theil and
            Sen), which single peaks do not move.
        low: Lower end of its 95 % interval.
        high: Upper end.
        minutes: Length of what was looked at.
        judged: Whether it is long enough to judge.
    """

    level_mb: float
    slope: float
    low: float
    high: float
    minutes: float
    judged: bool

    @property
    def flat(self) -> bool:
        """Whether it does not grow, or by less than a hundredth of all in what was looked at."""
        return self.low <= 0 or self.slope * self.minutes < self.level_mb / 100

    def text(self) -> str:
        """In words, with its numbers."""
        return (
            f"memory {self.level_mb:.1f} MB, slope {self.slope:+.3f} ({self.low:+.3f} to "
            f"{self.high:+.3f}) MB a minute over {self.minutes:.1f} minutes"
            + ("" if self.judged else ", too short to judge")
        )


def growth(points: list[Point], *, warm_up_s: float) -> Growth:
    """Slope of the memory after so many seconds.

    Neighbouring points are correlated, so the interval is computed from the medians of forty parts.

    Args:
        points: See `COLUMNS`.
        warm_up_s: Seconds in which buffers fill and are not looked at.
    """
    table = np.array([(p[0] / 60, p[2]) for p in points])
    settled = table[table[:, 0] > warm_up_s / 60]
    judged = len(settled) >= FEWEST
    used: NDArray[np.float64] = settled if judged else table
    parts = np.array([np.median(p, axis=0) for p in np.array_split(used, min(40, len(used)))])
    slope, _, low, high = (
        theilslopes(parts[:, 1], parts[:, 0], 0.95) if len(parts) > 2 else (0.0, 0.0, 0.0, 0.0)
    )
    return Growth(
        level_mb=float(np.median(used[:, 1])),
        slope=float(slope),
        low=float(low),
        high=float(high),
        minutes=float(used[-1, 0] - used[0, 0]),
        judged=judged,
    )
