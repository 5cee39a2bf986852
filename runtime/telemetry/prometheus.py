"""Counters and latencies in Prometheus's text format."""

from __future__ import annotations

from trocar.runtime.live.run import LiveRun
from trocar.runtime.telemetry.latency import prometheus_text


def metrics_text(run: LiveRun) -> str:
    """All streams in Prometheus's text format."""
    return "".join(
        prometheus_text(
            stream.stages,
            {
                "frames_read_total": stream.counts.read,
                "frames_shown_total": stream.counts.written,
                "frames_dropped_total": stream.counts.dropped,
                "frames_analysed_total": stream.counts.processed,
                "results_late_total": stream.counts.missed,
                "frames_failed_total": stream.counts.failed,
                "live": float(stream.health.state == "LIVE"),
            },
            labels={"stream": stream.source.name},
        )
        for stream in run.streams
    )
