"""Calls that may block or fail, on a thread of their own: terminals, metrics files, listeners.

    dispatcher = Dispatcher("terminal")
    dispatcher.post(lambda: print("[camera] STALE"))
    dispatcher.finish(timeout_s=2.0)

Whoever posts never waits and sees no error: a terminal that does not read, a full disk or a faulty
listener costs its messages and nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from trocar.contract.media.clock import now_ns
from trocar.runtime.pipeline.queues import BoundedQueue

CAPACITY = 256
"""Calls that wait at most; later ones are counted as lost."""


class Dispatcher:
    """A bounded queue of calls and one daemon that makes them.

    Args:
        name: Of its thread.
        every: A call that is made again and again, and the seconds between two of them.

    Attributes:
        lost: Calls that found the queue full.
        failed: Calls that raised an error.
    """

    def __init__(
        self, name: str, *, every: tuple[float, Callable[[], object]] | None = None
    ) -> None:
        self.lost = 0
        self.failed = 0
        self._every = every
        self._queue: BoundedQueue[Callable[[], object]] = BoundedQueue(CAPACITY)
        self._thread = threading.Thread(target=self._work, name=f"trocar-{name}", daemon=True)
        self._thread.start()

    def post(self, call: Callable[[], object]) -> bool:
        """Queues a call without waiting; false when the queue is full or finished."""
        taken = self._queue.offer(call)
        self.lost += not taken
        return taken

    def finish(self, *, timeout_s: float) -> bool:
        """Lets it make the calls that are queued; takes no further ones.

        Args:
            timeout_s: Seconds after which the daemon is left to itself.

        Returns:
            Whether all calls were made in time.
        """
        self._queue.close()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _work(self) -> None:
        due_ns = now_ns()
        while not self._queue.exhausted:
            wait_s = None if self._every is None else max(0.0, (due_ns - now_ns()) / 1e9)
            call = self._queue.get(timeout=wait_s)
            if call is not None:
                self._make(call)
            if self._every is not None and now_ns() >= due_ns:
                due_ns = now_ns() + round(self._every[0] * 1e9)
                self._make(self._every[1])

    def _make(self, call: Callable[[], object]) -> None:
        try:
            call()
        except BaseException:  # Also a call that wants to end the program.
            self.failed += 1
