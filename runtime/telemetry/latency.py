"""Latency histograms of fixed size, with a relative error below one percent.

    stages = Stages()
    stages.record("infer", 21.4)
    p99_ms = stages["infer"].percentile(99)

High-dynamic-range histograms: 128 buckets for every power of two of microseconds, from 1 µs to one
hour. Recording takes constant time and memory, however many frames a run has.
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic_ns

_SUB_BITS = 7
_SUB = 1 << _SUB_BITS
_MAX_US = 3_600_000_000
PERCENTILES = (50.0, 95.0, 99.0, 99.9)


def _bucket(us: int) -> int:
    shift = max(0, us.bit_length() - _SUB_BITS - 1)
    return (shift << _SUB_BITS) + (us >> shift)


def _value_us(bucket: int) -> float:
    """Middle of a bucket in microseconds."""
    shift = max(0, (bucket >> _SUB_BITS) - 1)
    low = (bucket - (shift << _SUB_BITS)) << shift
    return low + ((1 << shift) - 1) / 2


class Histogram:
    """Counts of durations; several threads may record.

    Attributes:
        count: Number of durations.
        sum_ms: Their sum in milliseconds.
        max_ms: The longest in milliseconds.
    """

    def __init__(self) -> None:
        # One block of plain numbers: a list would hold an object for every large count.
        self._counts = array("q", bytes(8 * (_bucket(_MAX_US) + 1)))
        self._lock = threading.Lock()
        self.count = 0
        self.sum_ms = 0.0
        self.max_ms = 0.0

    def record(self, ms: float) -> None:
        """Adds one duration in milliseconds, clipped to 0 .. one hour in the buckets."""
        bucket = _bucket(min(_MAX_US, max(0, round(ms * 1000))))
        with self._lock:
            self._counts[bucket] += 1
            self.count += 1
            self.sum_ms += ms
            self.max_ms = max(self.max_ms, ms)

    def percentile(self, percent: float) -> float:
        """The duration in milliseconds that ``percent`` of all do not exceed; 0 without any."""
        with self._lock:
            if not self.count:
                return 0.0
            need = max(1, -(-int(self.count * percent * 1000) // 100_000))
            seen = 0
            for bucket, count in enumerate(self._counts):
                seen += count
                if seen >= need:
                    return min(_value_us(bucket) / 1000, self.max_ms)
        return self.max_ms

    def summary(self) -> dict[str, float]:
        """``count``; ``mean``, ``p50``, ``p95``, ``p99``, ``p99.9`` and ``max`` in milliseconds."""
        data: dict[str, float] = {
            "count": self.count,
            "mean": round(self.sum_ms / self.count, 3) if self.count else 0.0,
        }
        for percent in PERCENTILES:
            data[f"p{percent:g}"] = round(self.percentile(percent), 3)
        data["max"] = round(self.max_ms, 3)
        return data


class Stages:
    """One histogram for each stage, in the order in which stages were first recorded."""

    def __init__(self) -> None:
        self._histograms: dict[str, Histogram] = {}
        self._lock = threading.Lock()

    def __getitem__(self, stage: str) -> Histogram:
        histogram = self._histograms.get(stage)
        if histogram is None:
            with self._lock:
                histogram = self._histograms.setdefault(stage, Histogram())
        return histogram

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._histograms))

    def record(self, stage: str, ms: float) -> None:
        """Adds one duration in milliseconds."""
        self[stage].record(ms)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Records how long the block takes, also when it raises an error."""
        started = monotonic_ns()
        try:
            yield
        finally:
            self[stage].record((monotonic_ns() - started) / 1e6)

    def summary(self) -> dict[str, dict[str, float]]:
        """`Histogram.summary` by stage."""
        return {stage: self[stage].summary() for stage in self}
