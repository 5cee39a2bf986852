"""What threads exchange frames through: a bounded queue, and two that keep the newest item only.

    latest = LatestValue[int]()
    dropped = latest.put(1)
    item = latest.get(timeout=0.5)

``close()`` ends the writing: what a queue holds can still be taken. ``stop()`` drops it as well.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class BoundedQueue(Generic[T]):
    """A first-in, first-out queue of bounded length: the writer waits for the reader.

    Args:
        capacity: Items that it holds at most.
    """

    def __init__(self, capacity: int) -> None:
        self._items: deque[T] = deque()
        self._capacity = capacity
        self._changed = threading.Condition()
        self._closed = False
        self._stopped = False

    def put(self, item: T) -> bool:
        """Waits until there is space and adds an item; false when the queue is closed."""
        with self._changed:
            while len(self._items) >= self._capacity and not (self._closed or self._stopped):
                self._changed.wait()
            if self._closed or self._stopped:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def offer(self, item: T) -> bool:
        """Adds an item without waiting; false when the queue is full or closed."""
        with self._changed:
            if self._closed or self._stopped or len(self._items) >= self._capacity:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def get(self, timeout: float | None = None) -> T | None:
        """Waits for an item; ``None`` at the end, when stopped, or after ``timeout`` seconds."""
        with self._changed:
            while not self._items:
                if self._closed or self._stopped:
                    return None
                if not self._changed.wait(timeout):
                    return None
            if self._stopped:
                return None
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def close(self) -> None:
        """Ends the writing; the items that are queued can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def stop(self) -> None:
        """Ends reading and writing; the items that are queued are dropped."""
        with self._changed:
            self._stopped = True
            self._items.clear()
            self._changed.notify_all()

    @property
    def exhausted(self) -> bool:
        """Whether no item will come out of it any more."""
        with self._changed:
            return self._stopped or (self._closed and not self._items)

    def __len__(self) -> int:
        with self._changed:
            return len(self._items)


class LatestValue(Generic[T]):
    """Holds one item: a newer one replaces an older one that was not taken."""

    def __init__(self) -> None:
        self._item: T | None = None
        self._changed = threading.Condition()
        self._closed = False

    def put(self, item: T) -> T | None:
        """Stores an item without waiting; returns the item that it replaced, if any."""
        with self._changed:
            if self._closed:
                return item
            dropped, self._item = self._item, item
            self._changed.notify_all()
            return dropped

    def get(self, timeout: float | None = None) -> T | None:
        """Waits for an item; ``None`` when closed and empty, or after ``timeout`` seconds."""
        with self._changed:
            while self._item is None:
                if self._closed or not self._changed.wait(timeout):
                    return None
            item, self._item = self._item, None
            return item

    def close(self) -> None:
        """Ends the writing and wakes the reader."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def exhausted(self) -> bool:
        """Whether no item will come out of it any more."""
        with self._changed:
            return self._closed and self._item is None


class LatestPerStream(Generic[T]):
    """Holds the newest item of each stream for one reader, which takes streams in turn.

    Args:
        streams: Number of streams.
    """

    def __init__(self, streams: int) -> None:
        self._items: dict[int, T] = {}
        self._streams = streams
        self._next = 0
        self._changed = threading.Condition()
        self._closed = False

    def put(self, stream: int, item: T) -> T | None:
        """Stores an item without waiting; returns the item that it replaced, if any."""
        with self._changed:
            dropped = self._items.get(stream)
            self._items[stream] = item
            self._changed.notify_all()
            return dropped

    def take(self, max_items: int, timeout: float) -> list[tuple[int, T]]:
        """Waits for an item; returns new items with their stream's number.

        The order starts after the stream that was served last, so that a stream which always has a
        new item does not keep the others waiting.

        Args:
            max_items: Items to return at most.
            timeout: Seconds after which an empty list is returned.
        """
        with self._changed:
            if not self._items and not self._closed:
                self._changed.wait(timeout)
            order = [(self._next + i) % self._streams for i in range(self._streams)]
            chosen = [i for i in order if i in self._items][:max_items]
            if chosen:
                self._next = (chosen[-1] + 1) % self._streams
            return [(i, self._items.pop(i)) for i in chosen]

    def close(self) -> None:
        """Wakes the reader."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
