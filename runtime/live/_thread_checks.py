"""Watches the threads of a live stream by what they produce.

check_model(Health(), ModelThread(), limit_s=5.0)
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from trocar.contract.media.clock import now_ns
from trocar.runtime.live.activity import Activity
from trocar.runtime.live.health import Health

MAX_SLOW_RESULTS = 5
"""Results in a row that are ready after ``max_age_ms`` and show that the model is too slow."""

SKIPPED_SHARE = 0.1
"""Share of the frames of the last seconds above which a decoder that passes them over is told."""


@dataclass
class ModelThread:
    """What the streams know of the thread that runs the model.

    Attributes:
        busy_since_ns: `now_ns` when it began with the batch that is in the model, if one is.
        thread: The thread, once it was started and until it is told to end.
    """

    busy_since_ns: int | None = None
    thread: threading.Thread | None = None


def check_model(health: Health, model: ModelThread, *, limit_s: float) -> None:
    """FAULT when the model's thread has ended, or has not answered for ``limit_s`` seconds."""
    since, thread = model.busy_since_ns, model.thread
    if thread is not None and not thread.is_alive():
        health.set("watchdog", "FAULT", "the model's thread has ended")
    elif since is not None and (now_ns() - since) / 1e9 > limit_s:
        health.set("watchdog", "FAULT", f"the model has not answered for over {limit_s:g} s")
    else:
        health.clear("watchdog")


def check_display(health: Health, *, alive: bool, unshown_ns: int | None, limit_s: float) -> None:
    """FAULT when the display thread has ended, STALE when a frame waits for it for too long.

    Args:
        health: Of the stream.
        alive: Whether the thread runs, or need not run any more.
        unshown_ns: `now_ns` since when a frame waits; ``None`` while none does.
        limit_s: Seconds that a frame may wait.
    """
    if not alive:
        health.set("display", "FAULT", "the thread that shows pictures has ended")
    elif unshown_ns is not None and (now_ns() - unshown_ns) / 1e9 > limit_s:
        health.set("display", "STALE", f"no picture was shown for over {limit_s:g} s")
    else:
        health.clear("display")


def check_decoder(health: Health, captured: Activity) -> None:
    """DEGRADED while the decoder passes over more than `SKIPPED_SHARE` of the frames."""
    came, skipped = captured.window
    health.update(
        "skipped",
        skipped > SKIPPED_SHARE * (came + skipped),
        "DEGRADED",
        "frames are passed over: the decoder does not keep up",
    )


class ModelSpeed:
    """Says once that the model is slower than the age up to which masks are shown.

    Args:
        health: Of the stream.
        max_age_ms: That age.
    """

    def __init__(self, health: Health, *, max_age_ms: float) -> None:
        self._health = health
        self._limit = max_age_ms
        self._slow = 0

    def record(self, age_ms: float) -> None:
        """Takes the age of a result when it was ready, without what its frame came late."""
        self._slow = self._slow + 1 if age_ms > self._limit else 0
        if self._slow == MAX_SLOW_RESULTS:
            self._health.set(
                "slow",
                "STALE",
                f"the model is slower than --max-age: its results are {age_ms:.0f} ms old when "
                f"they are ready, masks are shown up to {self._limit:g} ms",
            )
        elif self._slow == 0:
            self._health.clear("slow")
