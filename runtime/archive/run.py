"""Runs many recordings, one after the other or over Ray; recordings that are done are skipped.

    outcomes = run_archive(["archive/**/*.mp4"], options, out=Path("results"))

A run may be stopped at any time: the same call continues where it stopped. A recording that cannot
be read does not stop the others; all failures are listed at the end.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from trocar.contract.errors import DamagedInputError, OutputExistsError, TrocarError
from trocar.contract.text.words import printable_path
from trocar.runtime.archive.job import archive_error, make_job, output_faults, recordings_from
from trocar.runtime.archive.state import LOG, OLD, PART, Job, Outcome, reason_to_process
from trocar.runtime.archive.worker import Worker, failure_of, process
from trocar.runtime.pipeline.offline import Progress
from trocar.runtime.pipeline.options import RunOptions
from trocar.runtime.sinks.files import sink_error

MAX_LISTED = 10
"""Failures that the error at the end lists; the log contains all."""


class ArchiveListener(Protocol):
    """Is told of the progress of an archive."""

    def progress(self, recording: Path) -> AbstractContextManager[Progress | None]:
        """Opened around a recording that this process works on; gives its progress function."""
        ...

    def recording_finished(self, outcome: Outcome, number: int, total: int) -> None:
        """Recording ``number`` (from 1) of ``total`` is done, skipped or failed."""
        ...

    def interrupted(self, outcomes: Sequence[Outcome], total: int) -> None:
        """The run ends before all recordings were processed."""
        ...

    def finished(self, outcomes: Sequence[Outcome], out: Path) -> None:
        """All recordings were processed; their results are in ``out``."""
        ...


class NoListener:
    """A listener that does nothing."""

    def progress(self, recording: Path) -> AbstractContextManager[None]:
        """No progress function."""
        return contextlib.nullcontext()

    def recording_finished(self, outcome: Outcome, number: int, total: int) -> None:
        """Does nothing."""

    def interrupted(self, outcomes: Sequence[Outcome], total: int) -> None:
        """Does nothing."""

    def finished(self, outcomes: Sequence[Outcome], out: Path) -> None:
        """Does nothing."""


def run_archive(
    sources: Sequence[str],
    options: RunOptions,
    *,
    out: Path,
    ray: str | None = None,
    listener: ArchiveListener | None = None,
) -> list[Outcome]:
    """Processes all recordings of an archive.

    Args:
        sources: Files, folders of images, and patterns such as ``archive/**/*.mp4``.
        options: Of each run; the outputs are plain file names in a recording's folder.
        out: Folder of the results.
        ray: ``local`` or the address of a Ray cluster; ``None`` runs in this process.
        listener: Is told of each recording.

    Raises:
        ConfigError: Outputs that are not plain names.
        SourceError: A source matches nothing.
        OutputExistsError: Another run uses the same folder.
        DamagedInputError: Frames of recordings are damaged or missing; all results are complete.
        TrocarError: Recordings failed; all others are done.
    """
    out = out.absolute()
    faults = output_faults(options.output)
    if faults:
        raise archive_error(faults)
    recordings = recordings_from(sources, out)
    job = make_job(options, out)
    listener = NoListener() if listener is None else listener
    report = _Report(job, len(recordings), listener)
    with _locked(out):
        _remove_incomplete(out)
        try:
            todo = [path for path in recordings if not report.skips(path)]
            if ray and todo:
                from trocar.runtime.archive.ray_executor import run_on_ray

                run_on_ray(job, todo, ray, report.add)
            elif todo:
                _run_here(job, todo, report.add, listener)
        except BaseException:
            listener.interrupted(report.outcomes, report.total)
            raise
        finally:
            _remove_incomplete(out)
    listener.finished(report.outcomes, out)
    report.raise_failures()
    report.raise_damage()
    return report.outcomes


class _Report:
    """Collects outcomes and passes them to the listener."""

    def __init__(self, job: Job, total: int, listener: ArchiveListener) -> None:
        self.job = job
        self.total = total
        self.outcomes: list[Outcome] = []
        self._listener = listener

    def skips(self, recording: Path) -> bool:
        """Whether a recording needs no work, because it is done or cannot be accessed."""
        try:
            if reason_to_process(self.job, recording):
                return False
            self.add(Outcome(recording=printable_path(recording), state="skipped"))
        except Exception as error:  # One bad recording never stops an archive.
            reason, remedy = failure_of(error)
            self.add(
                Outcome(
                    recording=printable_path(recording),
                    state="failed",
                    reason=reason,
                    remedy=remedy,
                )
            )
        return True

    def add(self, outcome: Outcome) -> None:
        """Takes the outcome of a recording."""
        self.outcomes.append(outcome)
        self._listener.recording_finished(outcome, len(self.outcomes), self.total)

    def raise_failures(self) -> None:
        """Raises one error for all recordings that failed.

        Raises:
            TrocarError: Recordings failed.
        """
        failed = sorted(
            (o for o in self.outcomes if o.state == "failed"), key=lambda o: o.recording
        )
        if not failed:
            return
        lines = [f"\n  {o.recording}: {o.reason}" for o in failed[:MAX_LISTED]]
        if len(failed) > MAX_LISTED:
            lines.append(f"\n  … and {len(failed) - MAX_LISTED} more, see {self.job.out / LOG}")
        remedies = list(dict.fromkeys(o.remedy for o in failed if o.remedy))
        raise TrocarError(
            f"{len(failed)} of {self.total} recordings failed:" + "".join(lines),
            remedy="; ".join([*remedies[:3], "then run the same command again"]),
        )

    def raise_damage(self) -> None:
        """Raises one error for all recordings that lost frames.

        Raises:
            DamagedInputError: Frames of recordings of this run are damaged or missing.
        """
        damaged = sorted((o for o in self.outcomes if o.damage), key=lambda o: o.recording)
        if not damaged:
            return
        lines = [f"\n  {o.recording}: {o.damage}" for o in damaged[:MAX_LISTED]]
        if len(damaged) > MAX_LISTED:
            lines.append(f"\n  … and {len(damaged) - MAX_LISTED} more, see {self.job.out / LOG}")
        raise DamagedInputError(
            f"{len(damaged)} of {self.total} recordings are damaged:" + "".join(lines),
            remedy="copy them again, or pass --allow-damaged to accept them",
        )


def _run_here(
    job: Job,
    todo: Sequence[Path],
    report: Callable[[Outcome], None],
    listener: ArchiveListener,
) -> None:
    worker = Worker(job.options)
    try:
        # A model that does not open fails once, before the first recording.
        _ = worker.session
        for recording in todo:
            with listener.progress(recording) as progress:
                outcome = process(job, recording, worker, progress=progress)
            report(outcome)
    finally:
        worker.close()


def _lock(handle: int) -> None:
    """Locks an open file for this process; raises `OSError` when another one has the lock."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Locks a folder of results for one run; the lock ends with the process."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        handle = os.open(out / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise sink_error(out, error) from error
    try:
        try:
            _lock(handle)
        except OSError as error:
            raise OutputExistsError(
                f"another run uses {out}", remedy="wait for it, or choose another --out"
            ) from error
        yield
    finally:
        os.close(handle)


def _remove_incomplete(out: Path) -> None:
    """Removes incomplete results of runs that were killed."""
    for prefix in (PART, OLD):
        # An attempt is twelve hexadecimal digits; other folders are someone's own.
        for path in out.glob(f"{prefix}{'[0-9a-f]' * 12}"):
            shutil.rmtree(path, ignore_errors=True)
