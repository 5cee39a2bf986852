"""A trace of every stage of every frame, for https://ui.perfetto.dev or chrome://tracing.

with Trace(Path("trace.json")) as trace:
    trace.span("infer", thread="model", start_ns=0, end_ns=21_400_000, frame=17)
"""

from __future__ import annotations

import contextlib
import json
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from trocar.contract.errors import SinkError
from trocar.runtime.sinks.files import check_free, sink_error


class Trace:
    """Writes Chrome's trace event format, one event at a time; a truncated file still opens.

    Args:
        path: The file.
        overwrite: Whether an existing file is replaced.

    Attributes:
        failed: Whether writing failed; later events are then ignored.

    Raises:
        OutputExistsError: The file exists and may not be replaced.
        SinkError: It cannot be opened.
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        check_free(path, overwrite=overwrite)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("w", encoding="utf-8", buffering=1 << 16)
        except OSError as error:
            raise sink_error(path, error) from error
        self.path = path
        self._lock = threading.Lock()
        self._threads: dict[str, int] = {}
        self._first = True
        self.failed = False
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
        """Ends the list of events and closes the file."""
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._file.write("\n]\n")
            self._file.close()

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
        text = json.dumps(event, separators=(",", ":"))
        with self._lock:
            if self.failed or self._file.closed:
                return
            try:
                self._file.write(("[\n" if self._first else ",\n") + text)
            except (OSError, SinkError):
                # A trace that cannot be written does not stop the run.
                self.failed = True
            self._first = False
