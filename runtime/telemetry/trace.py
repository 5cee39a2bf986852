"""A trace of every stage of every frame, for https://ui.perfetto.dev or chrome://tracing.

with Trace(Path("trace.json")) as trace:
    trace.span("infer", thread="model", start_ns=0, end_ns=21_400_000, frame=17)
"""

from __future__ import annotations

import contextlib
import json
import queue
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from trocar.contract.errors import TrocarError
from trocar.runtime.sinks.files import AtomicFile, commit_all, sink_error

CAPACITY = 20_000
"""Events that wait to be written at most."""

CLOSE_S = 5.0
"""Seconds for which closing waits for the disk."""


class Trace:
    """Writes Chrome's trace event format, one event at a time; a truncated file still opens.

    Until it is closed the file is named ``trace.partial.json``. A thread of its own writes, so that
    a slow disk delays none of the threads that are traced.

    Args:
        path: The file.
        overwrite: Whether an existing file is replaced.

    Attributes:
        failed: Whether writing failed; later events are then ignored.
        lost: Events that came faster than they could be written.

    Raises:
        OutputExistsError: The file exists and may not be replaced.
        SinkError: It cannot be opened.
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        self._output = AtomicFile(path, overwrite=overwrite, live=True)
        try:
            file = self._output.prepare()
            self._file = file.open(self._output.mode, encoding="utf-8", buffering=1 << 16)
        except OSError as error:
            raise sink_error(path, error) from error
        self.path = path
        self._lock = threading.Lock()
        self._threads: dict[str, int] = {}
        self.failed = False
        self.lost = 0
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue(CAPACITY)
        self._ended = threading.Event()
        self._writer = threading.Thread(target=self._write, name="trocar-trace", daemon=True)
        self._writer.start()
        self._event({"name": "process_name", "ph": "M", "pid": 1, "args": {"name": "trocar"}})

    def span(self, name: str, *, thread: str, start_ns: int, end_ns: int, **args: Any) -> None:
        """Records what a thread did between two monotonic times, in nanoseconds."""
        self._event(
            {
                "name": name,
                "ph": "X",
                "pid": 1,
                "tid": self._number(thread),
                "ts": start_ns / 1000,
                "dur": max(0, end_ns - start_ns) / 1000,
                "args": args,
            }
        )

    def instant(self, name: str, *, thread: str, at_ns: int, **args: Any) -> None:
        """Records one moment: a dropped frame, a change of state."""
        self._event(
            {
                "name": name,
                "ph": "i",
                "s": "p",
                "pid": 1,
                "tid": self._number(thread),
                "ts": at_ns / 1000,
                "args": args,
            }
        )

    def close(self) -> None:
        """Writes what is queued, for some seconds at most, and ends the file."""
        if not self._ended.is_set():
            self._ended.set()
            with contextlib.suppress(queue.Full):
                self._events.put(None, timeout=CLOSE_S)
            self._writer.join(CLOSE_S)

    def __enter__(self) -> Trace:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _number(self, thread: str) -> int:
        with self._lock:
            number = self._threads.get(thread)
            if number is not None:
                return number
            number = len(self._threads) + 1
            self._threads[thread] = number
        self._event(
            {
                "name": "thread_name",
                "ph": "M",
                "pid": 1,
                "tid": number,
                "args": {"name": thread},
            }
        )
        return number

    def _event(self, event: dict[str, Any]) -> None:
        try:
            if self._ended.is_set():
                raise queue.Full
            self._events.put_nowait(event)
        except queue.Full:
            self.lost += 1

    def _write(self) -> None:
        before = "[\n"
        while (event := self._events.get()) is not None:
            if self.failed:
                continue
            try:
                self._file.write(before + json.dumps(event, separators=(",", ":")))
            except (OSError, ValueError):
                # A trace that cannot be written does not stop the run.
                self.failed = True
            before = ",\n"
        for end in (lambda: self._file.write("\n]\n"), self._file.close):
            try:
                end()
            except (OSError, ValueError):
                self.failed = True
        if not self.failed:
            try:
                commit_all([self._output])
            except TrocarError:
                self.failed = True
