"""Queues between threads: what is kept, what is dropped, and when they end."""

from __future__ import annotations

from trocar.runtime.pipeline.queues import BoundedQueue, LatestPerStream, LatestValue


def test_the_latest_value_replaces_the_one_before() -> None:
    latest: LatestValue[int] = LatestValue()
    assert latest.put(1) is None
    assert latest.put(2) == 1
    assert latest.get() == 2
    assert latest.get(timeout=0.01) is None
    assert not latest.exhausted
    latest.close()
    assert latest.put(3) == 3
    assert latest.exhausted


def test_streams_are_served_in_turn() -> None:
    frames: LatestPerStream[str] = LatestPerStream(3)
    for number in range(3):
        frames.put(number, f"old{number}")
        assert frames.put(number, f"new{number}") == f"old{number}"
    assert frames.take(2, 0.1) == [(0, "new0"), (1, "new1")]
    frames.put(0, "again")
    assert frames.take(2, 0.1) == [(2, "new2"), (0, "again")]
    assert frames.take(2, 0.01) == []


def test_a_full_queue_refuses_and_a_closed_one_can_be_emptied() -> None:
    queue: BoundedQueue[int] = BoundedQueue(2)
    assert queue.offer(1)
    assert queue.offer(2)
    assert not queue.offer(3)
    queue.close()
    assert not queue.exhausted
    assert [queue.get(), queue.get(), queue.get()] == [1, 2, None]
    assert queue.exhausted


def test_a_stopped_queue_drops_what_it_has() -> None:
    queue: BoundedQueue[int] = BoundedQueue(2)
    assert queue.put(1)
    queue.stop()
    assert queue.exhausted
    assert not queue.put(2)
    assert queue.get() is None
