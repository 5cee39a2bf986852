"""Live pages without a camera: one that is only asked, and one whose pictures a test writes.

with served(token="secret") as monitor: ...
with driven(lambda number: event_of(number), period_s=0.02) as (monitor, feed): ...
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

from trocar.runtime.live.monitor.feed import Feed
from trocar.runtime.live.monitor.server import Monitor
from trocar.runtime.sinks.base import FrameEvent


@contextlib.contextmanager
def served(host: str = "127.0.0.1", **options: Any) -> Iterator[Monitor]:
    """A page with one stream of no pictures."""
    monitor = Monitor(host, 0, **options)
    monitor.feed("camera")
    monitor.start()
    try:
        yield monitor
    finally:
        monitor.stop()


@contextlib.contextmanager
def driven(
    event_of: Callable[[int], FrameEvent], *, period_s: float, **options: Any
) -> Iterator[tuple[Monitor, Feed]]:
    """A page that shows these events, by their number from 0, one after each period."""
    with served(**options) as monitor:
        feed = monitor.feeds["0"]
        stop = threading.Event()

        def drive() -> None:
            number = 0
            while not stop.wait(period_s):
                feed.write(event_of(number))
                number += 1

        driver = threading.Thread(target=drive)
        driver.start()
        try:
            yield monitor, feed
        finally:
            stop.set()
            driver.join()
