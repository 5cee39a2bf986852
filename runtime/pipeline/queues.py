"""What threads hand frames through: a bounded channel that keeps all, a mailbox that keeps one.

    mailbox = Mailbox(); dropped = mailbox.put(frame); frame = mailbox.get()

Both can be closed (what is inside is still taken out) and stopped (nobody waits any longer).
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Channel(Generic[T]):
    """A first-in, first-out channel of bounded length: the writer waits for the reader."""

    def __init__(self, capacity: int) -> None:
        self._items: deque[T] = deque()
        self._capacity = capacity
        self._changed = threading.Condition()
        self._closed = False
        self._stopped = False

    def put(self, item: T) -> bool:
        """Waits for room and adds an item; false when the channel was closed or stopped."""
        with self._changed:
            while len(self._items) >= self._capacity and not (self._closed or self._stopped):
                self._changed.wait()
            if self._closed or self._stopped:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def offer(self, item: T) -> bool:
        """Adds an item if there is room now; never waits."""
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
        """Nothing more will be put; what is inside can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def stop(self) -> None:
        """Everybody who waits comes back with nothing; what is inside is dropped."""
        with self._changed:
            self._stopped = True
            self._items.clear()
            self._changed.notify_all()

    @property
    def over(self) -> bool:
        """Whether nothing will ever come out again."""
        with self._changed:
            return self._stopped or (self._closed and not self._items)

    def __len__(self) -> int:
        with self._changed:
            return len(self._items)


class Mailbox(Generic[T]):
    """Room for one item: a newer one takes the place of one that nobody took."""

    def __init__(self) -> None:
        self._item: T | None = None
        self._changed = threading.Condition()
        self._closed = False

    def put(self, item: T) -> T | None:
        """Leaves an item, never waits; gives the item that was dropped for it, if any."""
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
        """Nothing more will be put; whoever waits comes back."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def over(self) -> bool:
        """Whether nothing will ever come out again."""
        with self._changed:
            return self._closed and self._item is None


class Board(Generic[T]):
    """One mailbox a stream, and one reader that takes what is new of all of them, in turn."""

    def __init__(self, streams: int) -> None:
        self._items: dict[int, T] = {}
        self._streams = streams
        self._next = 0
        self._changed = threading.Condition()
        self._closed = False

    def put(self, stream: int, item: T) -> T | None:
        """Leaves an item, never waits; gives the item that was dropped for it, if any."""
        with self._changed:
            dropped = self._items.get(stream)
            self._items[stream] = item
            self._changed.notify_all()
            return dropped

    def take(self, limit: int, timeout: float) -> list[tuple[int, T]]:
        """Waits for news; gives at most ``limit`` of them, starting after the stream served last.

        So a stream that is always new cannot keep the others waiting.
        """
        with self._changed:
            if not self._items and not self._closed:
                self._changed.wait(timeout)
            order = [(self._next + i) % self._streams for i in range(self._streams)]
            chosen = [i for i in order if i in self._items][:limit]
            if chosen:
                self._next = (chosen[-1] + 1) % self._streams
            return [(i, self._items.pop(i)) for i in chosen]

    def close(self) -> None:
        """Whoever waits comes back."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
