"""Frees what several threads use: never while one of them is inside, and once.

    guard = InUse(container.close)
    with guard.using() as usable:
        ...
    guard.close()

Structures of FFmpeg and of inference libraries may not be freed while a thread is in them, nor by
two threads at once.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator


class InUse:
    """Counts users; the last one to leave frees, when `close` was called meanwhile.

    Args:
        free: Frees; called once.
    """

    def __init__(self, free: Callable[[], object]) -> None:
        self._free = free
        self._lock = threading.Lock()
        self._users = 0
        self._closed = False
        self._freed = False

    @contextlib.contextmanager
    def using(self) -> Iterator[bool]:
        """Keeps it from being freed within the block; gives false when it is closed already."""
        with self._lock:
            usable = not self._closed
            self._users += usable
        try:
            yield usable
        finally:
            if usable:
                with self._lock:
                    self._users -= 1
                self._free_unused()

    def close(self) -> None:
        """Frees now, or when the last user has left; never waits. May be called twice."""
        with self._lock:
            self._closed = True
        self._free_unused()

    def _free_unused(self) -> None:
        with self._lock:
            if not self._closed or self._users or self._freed:
                return
            self._freed = True
        self._free()
