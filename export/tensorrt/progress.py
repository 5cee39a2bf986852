"""Runs a TensorRT build: its log, its progress and Ctrl-C.

plan = run_build(trt, builder, network, config, on_progress)
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
    """Collects the messages of the library, which would print them.

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

    def first_error(self) -> str:
        """The first error, which is the cause, in one line."""
        text = self.errors[0] if self.errors else "it gave no reason"
        return " ".join(text.split())[:400]

    def mentions_memory(self) -> bool:
        """Whether an error is about memory."""
        return any(_MEMORY.search(text) for text in self.errors)


def run_build(
    trt: ModuleType,
    builder: Any,
    network: Any,
    config: Any,
    on_progress: Callable[[str, int, int], None] | None,
) -> Any:
    """Builds in a thread of its own, so that Ctrl-C works while the library builds.

    Returns:
        The serialized engine, or ``None`` when the library failed.

    Raises:
        KeyboardInterrupt: After the library has stopped at its next step.
    """
    stop = threading.Event()
    config.progress_monitor = _monitor(trt, stop, on_progress)
    plans: list[Any] = []
    failure: list[BaseException] = []
    finished = threading.Event()

    def work() -> None:
        try:
            plans.append(builder.build_serialized_network(network, config))
        except BaseException as error:
            failure.append(error)
        finally:
            finished.set()

    thread = threading.Thread(target=work, name="trocar-engine-build")
    interrupt: KeyboardInterrupt | None = None
    started = False
    # Ctrl-C may come at any line of this loop; the library must have stopped before we return.
    while not finished.is_set():
        try:
            if not started:
                started = True
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
    return plans[0]


def _monitor(
    trt: ModuleType, stop: threading.Event, on_progress: Callable[[str, int, int], None] | None
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
            self._report()

        def step_complete(self, phase_name: str, step: int) -> bool:
            with lock:
                known = self.steps.get(phase_name)
                if known is not None and known[0] < known[1]:
                    known[0] += 1
                    self.done += 1
            self._report()
            return not stop.is_set()

        def _report(self) -> None:
            if on_progress is not None:
                on_progress("engine", self.done, max(self.total, self.done))

    return Monitor()
