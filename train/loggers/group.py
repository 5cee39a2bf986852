"""All loggers of a run: what one of them raises ends that one, and the run goes on.

    with Loggers(("tensorboard", "mlflow"), info, say=print) as loggers:
        loggers.scalars(1, {"loss/ce": 0.7})

A logger of a server has a thread of its own, so that a slow or absent server does not hold up
training. Its loss is said once. Identities are kept in ``loggers.json``, so that a resumed run, or
an export, goes on with the same record.
"""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from trocar.contract.bundle import write_atomic
from trocar.contract.text.outside_json import load_json
from trocar.contract.text.words import first_line
from trocar.train.loggers.protocol import RunInfo, RunLogger
from trocar.train.loggers.registry import NO_LOGGER, find_logger, logger_names, open_logger

IDENTITIES = "loggers.json"

QUEUE = 1000
"""Calls that wait for a slow server; the logger is given up when there are more."""

CLOSING_S = 60.0
"""Seconds that the end of a run waits for what is still to be sent."""

Say = Callable[[str], None]


class Loggers:
    """The loggers of a run.

    Args:
        names: See `trocar.train.loggers.registry.logger_names`; ``none`` is skipped.
        info: See `trocar.train.loggers.protocol.RunInfo`; identities are added.
        say: Prints a line to the user.
    """

    def __init__(self, names: tuple[str, ...], info: RunInfo, *, say: Say) -> None:
        self._say = say
        self._told: set[str] = set()
        self._folder = info.folder
        known = self._kept = read_identities(info.folder)
        self._members = [
            _Member(name, replace(info, identity=known.get(name, "")), lost=self._lost)
            for name in names
            if name != NO_LOGGER
        ]
        for member in self._members:
            member.open()

    def __enter__(self) -> Loggers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        self.close(failed=kind is not None)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Values by name after a step."""
        self._each("scalars", step, dict(values))

    def picture(self, name: str, path: Path, step: int) -> None:
        """A PNG file, where it exists."""
        if path.is_file():
            self._each("picture", name, path, step)

    def artefact(self, path: Path) -> None:
        """A file or folder that the run made, where it exists."""
        if path.exists():
            self._each("artefact", path)

    def close(self, *, failed: bool) -> None:
        """Sends what waits, for a while, and ends all loggers."""
        for member in self._members:
            member.close(failed=failed)
        self._keep_identities()

    def _keep_identities(self) -> None:
        """Writes the identities down as soon as they are known: a run may be killed."""
        known = {m.name: m.identity for m in self._members if m.identity}
        if known.items() <= self._kept.items():
            return
        self._kept |= known
        text = json.dumps(self._kept, indent=1) + "\n"
        try:
            write_atomic(self._folder / IDENTITIES, text.encode())
        except OSError as error:
            self._lost(IDENTITIES, error)

    def _each(self, method: str, *arguments: Any) -> None:
        for member in self._members:
            member.call(method, *arguments)
        self._keep_identities()

    def _lost(self, name: str, error: BaseException) -> None:
        if name not in self._told:
            self._told.add(name)
            reason = first_line(error) or type(error).__name__
            self._say(f"note: logger {name} is lost, training goes on without it: {reason[:300]}")


class _Member:
    """One logger, called at once or, where it may wait for a server, from a thread of its own."""

    def __init__(
        self, name: str, info: RunInfo, *, lost: Callable[[str, BaseException], None]
    ) -> None:
        self.name, self.info, self._lost = name, info, lost
        self.identity = info.identity
        self.is_lost = False
        self._logger: RunLogger | None = None
        self._calls: queue.Queue[tuple[str, tuple[Any, ...]] | None] | None = None
        self._thread: threading.Thread | None = None
        self._failed = False

    def open(self) -> None:
        """Opens the logger, or starts the thread that does."""
        if not find_logger(self.name).is_remote:
            self._run(self._open)
            return
        self._calls = queue.Queue(QUEUE)
        # A server that never answers must not keep the process alive.
        self._thread = threading.Thread(target=self._work, name=f"log-{self.name}", daemon=True)
        self._thread.start()

    def call(self, method: str, *arguments: Any) -> None:
        """Calls a method of the logger, now or when its thread comes to it."""
        if self.is_lost:
            return
        if self._calls is None:
            self._run(lambda: getattr(self._logger, method)(*arguments))
            return
        try:
            self._calls.put_nowait((method, arguments))
        except queue.Full:
            self._give_up(TimeoutError(f"{QUEUE} calls wait for its server"))

    def close(self, *, failed: bool) -> None:
        """Ends the logger; waits `CLOSING_S` at most."""
        self._failed = failed
        if self._calls is None or self._thread is None:
            if not self.is_lost:
                self._run(self._end)
            return
        try:
            self._calls.put_nowait(None)
        except queue.Full:
            self._give_up(TimeoutError(f"{QUEUE} calls wait for its server"))
        if not self.is_lost:
            self._thread.join(CLOSING_S)
            if self._thread.is_alive():
                self._give_up(TimeoutError(f"its server did not answer for {CLOSING_S:.0f} s"))

    def _work(self) -> None:
        assert self._calls is not None
        self._run(self._open)
        while not self.is_lost:
            call = self._calls.get()
            if call is None:
                self._run(self._end)
                return
            method, arguments = call
            self._run(lambda m=method, a=arguments: getattr(self._logger, m)(*a))  # type: ignore[misc]

    def _open(self) -> None:
        self._logger = open_logger(self.name, self.info)
        self.identity = self._logger.identity

    def _end(self) -> None:
        assert self._logger is not None
        self._logger.close(failed=self._failed)

    def _run(self, action: Callable[[], Any]) -> None:
        try:
            action()
        except Exception as error:
            # Clients of servers raise errors of their own kinds; none of them may end the run.
            self._give_up(error)

    def _give_up(self, error: BaseException) -> None:
        self.is_lost = True
        self._lost(self.name, error)


def read_identities(folder: Path) -> dict[str, str]:
    """Identities of a run's loggers by name; empty where there are none or the file is damaged."""
    try:
        values = load_json((folder / IDENTITIES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(values, dict):
        return {}
    return {str(name): str(value) for name, value in values.items() if name in logger_names()}


def attach(folder: Path, path: Path, *, uri: str | None, say: Say) -> None:
    """Adds a file or folder that was made later, a bundle, to the servers' records of a run.

    Args:
        folder: The run's folder.
        path: What to add.
        uri: Address that the run logged to, if it was given one.
        say: Prints a line to the user.
    """
    names = tuple(name for name in read_identities(folder) if find_logger(name).is_remote)
    if not names:
        return
    with Loggers(names, RunInfo(name=folder.name, folder=folder, uri=uri), say=say) as loggers:
        loggers.artefact(path)
