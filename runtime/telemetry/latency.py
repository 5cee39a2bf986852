"""Latency that can be trusted: histograms of fixed size, exact to under one percent.

    stages = Stages(); stages.record("infer", 21.4)
    stages["infer"].percentile(99)

High-dynamic-range histograms: 128 buckets for every power of two of microseconds, from 1 µs to an
hour. Recording is constant time and memory, so the 100,000th frame costs what the first did.
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import monotonic_ns
from typing import Any

_SUB_BITS = 7
_SUB = 1 << _SUB_BITS
_MAX_US = 3_600_000_000
PERCENTILES = (50.0, 95.0, 99.0, 99.9)


def _bucket(us: int) -> int:
    shift = max(0, us.bit_length() - _SUB_BITS - 1)
    return (shift << _SUB_BITS) + (us >> shift)


def _value_us(bucket: int) -> float:
    """Middle of a bucket."""
    shift = max(0, (bucket >> _SUB_BITS) - 1)
    low = (bucket - (shift << _SUB_BITS)) << shift
    return low + ((1 << shift) - 1) / 2


class Histogram:
    """Counts of durations; safe to record from several threads."""

    def __init__(self) -> None:
        # Plain numbers in one block: a list would come to hold an object for every large count.
        self._counts = array("q", bytes(8 * (_bucket(_MAX_US) + 1)))
        self._lock = threading.Lock()
        self.count = 0
        self.sum_ms = 0.0
        self.max_ms = 0.0

    def record(self, ms: float) -> None:
        """Adds one duration in milliseconds; negative ones count as 0, above an hour as an hour."""
        bucket = _bucket(min(_MAX_US, max(0, round(ms * 1000))))
        with self._lock:
            self._counts[bucket] += 1
            self.count += 1
            self.sum_ms += ms
            self.max_ms = max(self.max_ms, ms)

    def percentile(self, percent: float) -> float:
        """The smallest duration (ms) that ``percent`` of all do not exceed; 0 without any."""
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
        """``count``, ``mean``, ``p50``, ``p95``, ``p99``, ``p99.9`` and ``max``, in ms."""
        data: dict[str, float] = {
            "count": self.count,
            "mean": round(self.sum_ms / self.count, 3) if self.count else 0.0,
        }
        for percent in PERCENTILES:
            data[f"p{percent:g}"] = round(self.percentile(percent), 3)
        data["max"] = round(self.max_ms, 3)
        return data


class Stages:
    """One histogram a stage, in the order in which stages were first seen."""

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
        """Records how long the block takes, also when it raises."""
        started = monotonic_ns()
        try:
            yield
        finally:
            self[stage].record((monotonic_ns() - started) / 1e6)

    def summary(self) -> dict[str, dict[str, float]]:
        """`Histogram.summary` by stage."""
        return {stage: self[stage].summary() for stage in self}


def prometheus_text(
    stages: Stages, counters: Mapping[str, float], *, labels: Mapping[str, str] | None = None
) -> str:
    """The stages as summaries and the counters, in Prometheus's text format.

    Args:
        stages: Milliseconds; written as seconds, as is the custom there.
        counters: Values by name; a name that ends with ``_total`` is a counter, others gauges.
        labels: Added to every line.
    """
    base = dict(labels or {})
    lines = [
        "# HELP trocar_stage_seconds Time that each stage takes.",
        "# TYPE trocar_stage_seconds summary",
    ]
    for stage in stages:
        histogram = stages[stage]
        for percent in PERCENTILES:
            tags = _tags({**base, "stage": stage, "quantile": f"{percent / 100:g}"})
            lines.append(f"trocar_stage_seconds{tags} {histogram.percentile(percent) / 1000:.6f}")
        tags = _tags({**base, "stage": stage})
        lines.append(f"trocar_stage_seconds_sum{tags} {histogram.sum_ms / 1000:.6f}")
        lines.append(f"trocar_stage_seconds_count{tags} {histogram.count}")
    for name, value in counters.items():
        kind = "counter" if name.endswith("_total") else "gauge"
        lines.append(f"# TYPE trocar_{name} {kind}")
        lines.append(f"trocar_{name}{_tags(base)} {value:g}")
    return "\n".join(lines) + "\n"


def _tags(labels: Mapping[str, Any]) -> str:
    if not labels:
        return ""
    inside = ",".join(f'{key}="{_escaped(str(value))}"' for key, value in labels.items())
    return "{" + inside + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
