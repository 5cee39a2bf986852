"""Listeners that block or raise: nobody else notices."""

from __future__ import annotations

import threading
from types import ModuleType

from trocar.runtime.live.dispatcher import CAPACITY, Dispatcher
from trocar.runtime.live.health import Health, StateChange


def test_calls_are_made_in_order_and_errors_are_counted() -> None:
    made: list[int] = []
    dispatcher = Dispatcher("test")
    for number in range(20):
        dispatcher.post(lambda number=number: made.append(number))  # type: ignore[misc]
        dispatcher.post(lambda: 1 / 0)
    assert dispatcher.finish(timeout_s=30)
    assert made == list(range(20))
    assert dispatcher.failed == 20
    assert not dispatcher.post(lambda: None)


def test_a_call_that_blocks_costs_calls_and_no_time() -> None:
    release = threading.Event()
    dispatcher = Dispatcher("test")
    for _ in range(CAPACITY + 50):
        dispatcher.post(release.wait)
    assert dispatcher.lost >= 49
    assert not dispatcher.finish(timeout_s=0.01)
    release.set()
    assert dispatcher.finish(timeout_s=30)


def test_repeated_calls_go_on_after_an_error(kit: ModuleType) -> None:
    made: list[int] = []

    def call() -> None:
        made.append(1)
        raise OSError("disk full")

    dispatcher = Dispatcher("test", every=(0.001, call))
    assert kit.until(lambda: len(made) > 5)
    assert dispatcher.finish(timeout_s=30)
    assert dispatcher.failed == len(made)


def test_a_listener_that_blocks_or_raises_leaves_the_state_true() -> None:
    entered, release = threading.Event(), threading.Event()

    def listener(change: StateChange) -> None:
        entered.set()
        release.wait(60)
        raise RuntimeError("the terminal is gone")

    health = Health(listener)
    for number in range(2 * CAPACITY):
        health.update("source", number % 2 == 0, "FAULT", "no source")
        assert health.state == ("FAULT" if number % 2 == 0 else "LIVE")
    assert entered.wait(30)
    assert len(health.changes) == 200
    release.set()
    health.finish()
    health.set("b", "STALE", "old")
    assert health.state == "STALE"
