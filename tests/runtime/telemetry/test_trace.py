"""The trace: a slow disk delays none of the threads that are traced."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

from trocar.runtime.telemetry import trace as trace_module
from trocar.runtime.telemetry.trace import Trace


class SlowDisk:
    """A file whose writing waits until it is told."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.go_on = threading.Event()

    def write(self, text: str) -> int:
        assert self.go_on.wait(60)
        return int(self._file.write(text))

    def close(self) -> None:
        self._file.close()


def test_a_slow_disk_costs_events_and_no_time(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(trace_module, "CAPACITY", 50)
    trace = Trace(tmp_path / "t.json")
    disk = SlowDisk(trace._file)
    trace._file = disk  # type: ignore[assignment]
    for number in range(200):
        trace.span("infer", thread="model", start_ns=number, end_ns=number + 1)
    assert trace.lost >= 140
    disk.go_on.set()
    trace.close()
    events = json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))
    assert len(events) + trace.lost == 202
    trace.span("infer", thread="model", start_ns=0, end_ns=1)


def test_a_disk_that_fails_ends_the_trace_alone(tmp_path: Path) -> None:
    class Full:
        def write(self, text: str) -> int:
            raise OSError("No space left on device")

        def close(self) -> None: ...

    trace = Trace(tmp_path / "t.json")
    trace._file.close()
    trace._file = Full()  # type: ignore[assignment]
    for number in range(5):
        trace.instant("drop", thread="capture", at_ns=number)
    trace.close()
    assert trace.failed
