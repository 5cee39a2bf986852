"""Counters and latencies in Prometheus's text format, written by `prometheus_client`.

    metrics = StreamMetrics(name="camera", stages=Stages(), counters={"frames_read_total": 5})
    text = prometheus_text([metrics])

Every metric family appears once, with one set of samples for each stream.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from trocar.runtime.telemetry.latency import PERCENTILES, Stages

CONTENT_TYPE = CONTENT_TYPE_LATEST
"""HTTP content type of `prometheus_text`."""

_HELP = {
    "frames_read_total": "Frames that were decoded.",
    "frames_shown_total": "Frames that were shown.",
    "frames_dropped_total": "Frames that were decoded and not shown.",
    "frames_analysed_total": "Frames that went through the model.",
    "results_late_total": "Results that were ready after the deadline.",
    "frames_failed_total": "Frames on which the model raised an error.",
    "frames_damaged_total": "Damaged packets and frames of the source.",
    "input_late_seconds": "How late the last frame came by the source's clock.",
    "live": "1 while the state is LIVE, else 0.",
}


@dataclass(frozen=True, kw_only=True)
class StreamMetrics:
    """What is published of one stream.

    Attributes:
        name: Value of the label ``stream``; any text.
        stages: Durations by stage, in milliseconds; published in seconds.
        counters: Values by name without the prefix ``trocar_``; a name that ends with ``_total`` is
            a counter, every other a gauge.
    """

    name: str
    stages: Stages
    counters: Mapping[str, float] = field(default_factory=dict)


def prometheus_text(streams: Sequence[StreamMetrics]) -> str:
    """All streams in Prometheus's text format; stages are summaries with quantiles.

    Streams of the same name get ``#2``, ``#3`` … appended: a series may appear only once.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Streams(_with_unique_names(streams)))
    return generate_latest(registry).decode()


def _with_unique_names(streams: Sequence[StreamMetrics]) -> list[StreamMetrics]:
    unique: dict[str, StreamMetrics] = {}
    for stream in streams:
        name, number = stream.name, 1
        while name in unique:
            number += 1
            name = f"{stream.name}#{number}"
        unique[name] = replace(stream, name=name)
    return list(unique.values())


class _Streams(Collector):
    def __init__(self, streams: Sequence[StreamMetrics]) -> None:
        self._streams = streams

    def collect(self) -> Iterator[Metric]:
        """Every metric family, once."""
        yield self._stage_seconds()
        for name in dict.fromkeys(name for stream in self._streams for name in stream.counters):
            text = _HELP.get(name, name.replace("_", " "))
            family: CounterMetricFamily | GaugeMetricFamily
            if name.endswith("_total"):
                # The client appends _total to the name of a counter's samples.
                short = name.removesuffix("_total")
                family = CounterMetricFamily(f"trocar_{short}", text, labels=["stream"])
            else:
                family = GaugeMetricFamily(f"trocar_{name}", text, labels=["stream"])
            for stream in self._streams:
                if name in stream.counters:
                    family.add_metric([stream.name], stream.counters[name])
            yield family

    def _stage_seconds(self) -> Metric:
        name = "trocar_stage_seconds"
        family = SummaryMetricFamily(
            name, "Time that each stage takes.", labels=["stream", "stage"]
        )
        for stream in self._streams:
            for stage in stream.stages:
                durations = stream.stages[stage]
                labels = {"stream": stream.name, "stage": stage}
                for percent in PERCENTILES:
                    family.add_sample(
                        name,
                        {**labels, "quantile": f"{percent / 100:g}"},
                        round(durations.percentile(percent) / 1000, 6),
                    )
                family.add_metric(
                    [stream.name, stage],
                    count_value=durations.count,
                    sum_value=round(durations.sum_ms / 1000, 6),
                )
        return family
