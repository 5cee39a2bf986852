"""The terminal of live runs: changes of state, a table, summaries; it may stall or be closed.

    with LiveTerminal(lambda: live_table(run.streams)) as terminal:
        terminal.line("[camera] STALE: no new frame for over 1 s")

A terminal that does not read (a hung SSH connection, Ctrl-S, a full pipe) blocks whoever writes to
it. So everything is written by one daemon, through a file of its own: neither the threads of a run
nor the end of the program wait for it.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, TextIO

from rich.console import Console, RenderableType

from trocar.runtime.live.dispatcher import Dispatcher

REFRESH_S = 0.3
"""Seconds between two pictures of the table."""

END_S = 5.0
"""Seconds for which the end of a run waits for the terminal."""


class LiveTerminal:
    """Writes lines and, on a terminal, a table that is refreshed.

    Args:
        table: Makes the table. Called from the daemon.
    """

    def __init__(self, table: Callable[[], RenderableType] | None = None) -> None:
        self._console = _PlainConsole(file=_own_stderr(), stderr=True, soft_wrap=False)
        self._table = table
        self._live: Any = None
        shows_table = table is not None and self._console.is_terminal
        self._dispatcher = Dispatcher(
            "terminal", every=(REFRESH_S, self._refresh) if shows_table else None
        )

    def line(self, text: str) -> None:
        """Writes a line, above the table; never waits."""
        self.call(lambda console: console.out(text, highlight=False))

    def call(self, write: Callable[[Console], object]) -> None:
        """Lets a function write to the console from the daemon; never waits."""
        self._dispatcher.post(partial(write, self._console))

    def end_table(self) -> None:
        """Takes the table away; lines stay."""
        self._dispatcher.post(self._end_table)

    def finish(self) -> bool:
        """Waits until all is written, `END_S` at most; whether it was."""
        self.end_table()
        written = self._dispatcher.finish(timeout_s=END_S)
        if written and isinstance(self._console.file, _Descriptor):
            self._console.file.close()
        return written

    def __enter__(self) -> LiveTerminal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.finish()

    def _refresh(self) -> None:
        if self._table is None:
            return
        if self._live is None:
            from rich.live import Live

            # Without a thread and redirections of its own: both would block with the terminal.
            self._live = Live(
                console=self._console,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        self._live.update(self._table(), refresh=True)

    def _end_table(self) -> None:
        self._table = None
        live, self._live = self._live, None
        if live is not None:
            live.stop()


class _PlainConsole(Console):
    """A console that leaves the standard output alone when its own reader has gone."""

    def on_broken_pipe(self) -> None:
        """Is called for an error of writing; the daemon drops what could not be written.

        Raises:
            BrokenPipeError: Always.
        """
        raise BrokenPipeError


class _Descriptor(io.TextIOBase):
    """Text to a file descriptor, without a buffer and its lock."""

    encoding = "utf-8"

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, text: str, /) -> int:
        """Writes all of the text."""
        data = text.encode("utf-8", "replace")
        while data:
            data = data[os.write(self._descriptor, data) :]
        return len(text)

    def close(self) -> None:
        """Closes the descriptor; once."""
        if not self.closed:
            os.close(self._descriptor)
        super().close()

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        """It is."""
        return True


def _own_stderr() -> TextIO:
    """A way to the standard error that shares no lock with `sys.stderr`.

    The interpreter flushes `sys.stderr` when it ends and aborts where a daemon holds its lock.
    A standard error that was replaced (tests) or closed is taken as it is.
    """
    with contextlib.suppress(OSError, ValueError, AttributeError):
        real = sys.__stderr__
        if real is not None and sys.stderr is real and real.fileno() == 2:
            return _Descriptor(os.dup(2))  # type: ignore[return-value]
    return sys.stderr if sys.stderr is not None else io.StringIO()
