"""Runs an archive of recordings, with one line for each on the standard error.

run_recordings(request)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import click

from trocar.commands._run_request import RunRequest
from trocar.console.run import frame_progress
from trocar.runtime.archive.run import run_archive
from trocar.runtime.archive.state import Outcome
from trocar.runtime.pipeline.offline import Progress


def run_recordings(
    request: RunRequest, *, finished: Callable[[Outcome], None] | None = None
) -> list[Outcome]:
    """Processes all recordings of the request.

    Args:
        request: What to do.
        finished: Called with the outcome of each recording.

    Raises:
        TrocarError: See `run_archive`.
    """
    assert request.out is not None, "an archive has --out"
    return run_archive(
        request.sources,
        request.options,
        out=request.out,
        ray=request.ray,
        listener=_Terminal(finished),
    )


class _Terminal:
    """Prints one line for each recording, and a sum at the end."""

    def __init__(self, finished: Callable[[Outcome], None] | None) -> None:
        self._finished = finished

    def progress(self, recording: Path) -> AbstractContextManager[Progress]:
        """A progress bar."""
        return frame_progress(recording.name)

    def recording_finished(self, outcome: Outcome, number: int, total: int) -> None:
        """Prints the outcome of a recording."""
        if self._finished is not None:
            self._finished(outcome)
        text = {"skipped": "done before", "failed": f"failed: {outcome.reason}"}.get(outcome.state)
        if text is None:
            rate = outcome.frames / outcome.seconds if outcome.seconds else 0.0
            text = f"{outcome.frames} frames in {outcome.seconds:.1f} s ({rate:.1f} frames/s)"
            text += f", {outcome.damage}" if outcome.damage else ""
            text += f", again: {outcome.reason}" if outcome.reason else ""
        path = os.path.relpath(outcome.recording)
        click.echo(f"[{number:{len(str(total))}}/{total}] {path}: {text}", err=True)

    def interrupted(self, outcomes: Sequence[Outcome], total: int) -> None:
        """Prints how many recordings are done."""
        done = sum(outcome.state != "failed" for outcome in outcomes)
        click.echo(
            f"{done} of {total} recordings are done; the same command continues from here",
            err=True,
        )

    def finished(self, outcomes: Sequence[Outcome], out: Path) -> None:
        """Prints the sum."""
        count = {s: sum(o.state == s for o in outcomes) for s in ("done", "skipped", "failed")}
        click.echo(
            f"{count['done']} done, {count['skipped']} done before, {count['failed']} failed; "
            f"results in {out}",
            err=True,
        )
