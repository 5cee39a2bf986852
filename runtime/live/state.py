"""The state of a stream as ``/state.json`` and metrics files tell it, made when it is asked for.

    json.dumps(stream_state(stream))

Every value is of the moment of the call. ``at_ms`` rises with the clock: a reader that sees it
stand, or far from its own seconds, has an old state before it.
"""

from __future__ import annotations

from typing import Any

from trocar.contract.media.clock import now_ns
from trocar.contract.text.strict_json import without_nan
from trocar.runtime.live.activity import Activity
from trocar.runtime.live.stream import LiveStream

EVENTS = 8
"""Changes of state that are told."""


def stream_state(stream: LiveStream) -> dict[str, Any]:
    """JSON-ready state of a stream.

    Returns:
        ``name``; ``at_ms`` (monotonic milliseconds of this call); ``checked_ns`` (the same clock in
        nanoseconds, when the watchdog last checked the stream); ``state`` and ``reasons``;
        ``fps`` (pictures shown a second); ``counts``; ``threads`` (for ``captured``, ``shown`` and
        ``analysed``: ``rate`` a second over the last five seconds and ``idle_ms`` since the last
        one); ``input`` (``late_ms`` of the newest frame by the source's clock, its ``age_ms``,
        ``damaged`` packets and frames); ``mask_age_ms`` (``None`` without a result);
        ``instruments``, ``present``, ``model``, ``stages``; ``outputs`` with counts and ``rate``;
        the last ``events``. Numbers that are not finite are ``None``.
    """
    stream.check()
    now = now_ns()
    result, newest, counts = stream.latest, stream.newest, stream.counts
    state = {
        "name": stream.source.name,
        "at_ms": round(now / 1e6, 1),
        "checked_ns": stream.checked_ns,
        "state": stream.health.state,
        "reasons": list(stream.health.reasons),
        "fps": round(stream.shown.rate, 1),
        "counts": {
            "read": counts.read,
            "shown": counts.written,
            "dropped": counts.dropped,
            "analysed": counts.processed,
            "late": counts.missed,
            "failed": counts.failed,
        },
        "threads": {
            "captured": _activity(stream.captured),
            "shown": _activity(stream.shown),
            "analysed": _activity(stream.analysed),
        },
        "input": {
            "late_ms": None if newest is None else round(newest.arrival.late_ms, 1),
            "age_ms": None if newest is None else round((now - newest.captured_ns) / 1e6, 1),
            "damaged": counts.damaged,
        },
        "mask_age_ms": None if result is None else round((now - result.captured_ns) / 1e6, 1),
        "instruments": []
        if result is None
        else [instrument.to_dict() for instrument in result.instruments],
        "present": [] if result is None or result.present is None else list(result.present),
        "model": ""
        if result is None
        else f"{result.backend} on {result.device}, {result.precision}",
        "stages": stream.stages.summary(),
        "outputs": [
            {
                "name": worker.sink.name,
                "written": worker.written,
                "dropped": worker.dropped,
                "failed": worker.failed,
                "rate": round(worker.activity.rate, 1),
            }
            for worker in stream.sink_workers
        ],
        "events": [
            {"at_ms": round(c.at_ns / 1e6, 1), "state": c.state, "reasons": list(c.reasons)}
            for c in list(stream.health.changes)[-EVENTS:]
        ],
    }
    return {name: without_nan(value) for name, value in state.items()}


def _activity(activity: Activity) -> dict[str, float]:
    return {"rate": round(activity.rate, 1), "idle_ms": round(activity.idle_s * 1000, 1)}
