"""Running a TensorRT build: its log, its own progress, and Ctrl-C.

plan = run_build(trt, builder, network, config, progress)
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

_MEMORY = re.compile(
    r"out of memory|outofmemory|insufficient memory|within workspace limit|"
    r"memory allocation|requested amount of gpu memory",
    re.IGNORECASE,
)


class Log:
    """Keeps what the library says instead of printing it.

    Attributes:
        sink: The library's logger object.
        errors: Texts of errors, in order.
    """

    def __init__(self, trt: ModuleType) -> None:
        self.errors: list[str] = []
        errors = self.errors
        worst = (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR)

        class Sink(trt.ILogger):  # type: ignore[misc,name-defined]
            def log(self, severity: Any, message: str) -> None:
                if severity in worst:
                    errors.append(message)

        self.sink = Sink()

    def last(self) -> str:
        """The first error, which is the cause, in one line."""
        text = self.errors[0] if self.errors else "it gave no reason"
        return " ".join(text.split())[:400]

    def tells_of_memory(self) -> bool:
        """Whether any error speaks of memory."""
        return any(_MEMORY.search(text) for text in self.errors)


def run_build(
    trt: ModuleType,
    builder: Any,
    network: Any,
    config: Any,
    progress: Callable[[str, int, int], None] | None,
) -> Any:
    """Builds in a thread of its own so that Ctrl-C is heard while the library works.

    Returns:
        The serialized engine, or ``None`` when the library gave up.

    Raises:
        KeyboardInterrupt: After the library has stopped at its next step.
    """
    stop = threading.Event()
    config.progress_monitor = _monitor(trt, stop, progress)
    answer: list[Any] = []
    failure: list[BaseException] = []
    finished = threading.Event()

    def work() -> None:
        try:
            answer.append(builder.build_serialized_network(network, config))
        except BaseException as error:
            failure.append(error)
        finally:
            finished.set()

    thread = threading.Thread(target=work, name="trocar-engine-build")
    interrupt: KeyboardInterrupt | None = None
    begun = False
    # Ctrl-C may come at any line of this loop; the library must have ended before we leave.
    while not finished.is_set():
        try:
            if not begun:
                begun = True
                thread.start()
            while not finished.wait(0.1):
                pass
        except KeyboardInterrupt as error:
            stop.set()
            interrupt = error
    thread.join()
    if interrupt is not None:
        raise interrupt
    if failure:
        raise failure[0]
    return answer[0]


def _monitor(
    trt: ModuleType, stop: threading.Event, progress: Callable[[str, int, int], None] | None
) -> Any:
    lock = threading.Lock()

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc,name-defined]
        """Counts the steps of all phases; phases are announced as they begin."""

        def __init__(self) -> None:
            super().__init__()
            self.total = 0
            self.done = 0
            self.steps: dict[str, list[int]] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            with lock:
                self.steps[phase_name] = [0, num_steps]
                self.total += num_steps

        def phase_finish(self, phase_name: str) -> None:
            with lock:
                done, steps = self.steps.pop(phase_name, [0, 0])
                self.done += steps - done
            self._tell()

        def step_complete(self, phase_name: str, step: int) -> bool:
            with lock:
                known = self.steps.get(phase_name)
                if known is not None and known[0] < known[1]:
                    known[0] += 1
                    self.done += 1
            self._tell()
            return not stop.is_set()

        def _tell(self) -> None:
            if progress is not None:
                progress("engine", self.done, max(self.total, self.done))

    return Monitor()
