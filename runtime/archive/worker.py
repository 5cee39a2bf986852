"""One recording of an archive, from its frames to a folder of results that appears whole.

    outcome = process(job, Path("archive/a.mp4"), Worker(flags))

The folder takes its name in one step, when all of it is there. Whoever comes second with the same
result throws his away.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trocar.contract.errors import InterruptedByUserError, SinkError, SourceError, TrocarError
from trocar.runtime.archive.state import (
    MARKER,
    OLD,
    PART,
    Job,
    Outcome,
    fingerprint,
    folder_of,
    log,
    size_of,
    why_to_do,
)
from trocar.runtime.draw.overlay import Painter
from trocar.runtime.pipeline.assemble import (
    make_analyser,
    second_stage,
    session_from_flags,
    sinks_from_flags,
    source_options,
    workers_for,
)
from trocar.runtime.pipeline.crop_classifier import CropClassifier
from trocar.runtime.pipeline.offline import Progress, run_lossless
from trocar.runtime.session import Session
from trocar.runtime.sinks.files import sink_error
from trocar.runtime.sources.open import open_source


class Worker:
    """The model of one process, opened for the first recording and kept for the next.

    Args:
        flags: The command line's.
        ahead: Frames in the model at once; default: what keeps all cores busy.
    """

    def __init__(self, flags: Mapping[str, Any], *, ahead: int | None = None) -> None:
        self._flags = flags
        self._ahead = ahead
        self._session: Session | None = None
        self._classifier: CropClassifier | None = None

    @property
    def session(self) -> Session:
        """The model; raises what `Session.open` does."""
        if self._session is None:
            self._session = session_from_flags(self._flags, live=False)
        return self._session

    @property
    def ahead(self) -> int:
        """Frames in the model at once."""
        return self._ahead or workers_for(self.session, self._flags["threads"])

    def classifier(self) -> CropClassifier | None:
        """A second stage that knows no tracks yet, on the model that is open already."""
        if self._classifier is None:
            opened = second_stage(self._flags)
            self._classifier = opened if isinstance(opened, CropClassifier) else None
            return self._classifier
        return CropClassifier(self._classifier.session, threshold=self._flags["unknown_below"])

    def close(self) -> None:
        """Gives the models back."""
        if self._session is not None:
            self._session.close()
        if self._classifier is not None:
            self._classifier.session.close()


def process(
    job: Job, recording: Path, worker: Worker, *, progress: Progress | None = None
) -> Outcome:
    """Does one recording, unless it is done; what goes wrong with it is an outcome, no exception.

    Only Ctrl-C comes out as an exception; nothing half-done stays.
    """
    started = time.monotonic()
    attempt = uuid.uuid4().hex[:12]
    try:
        reason = why_to_do(job, recording)
        if not reason:
            return Outcome(recording=str(recording), state="skipped")
        log(job, "started", recording, attempt=attempt)
        frames = _into_place(job, recording, worker, attempt, progress)
    except InterruptedByUserError:
        raise
    except Exception as error:
        text, remedy = f"{type(error).__name__}: {error}", "report this with the recording"
        if isinstance(error, TrocarError):
            text, remedy = error.message, error.remedy
        # A full disk fails every recording; that it cannot be logged either stops nothing.
        with contextlib.suppress(SinkError):
            log(job, "failed", recording, attempt=attempt, reason=text)
        return Outcome(
            recording=str(recording),
            state="failed",
            reason=text,
            remedy=remedy,
        )
    if frames is None:
        log(job, "second", recording, attempt=attempt)
        return Outcome(recording=str(recording), state="skipped")
    log(job, "finished", recording, attempt=attempt, frames=frames)
    return Outcome(
        recording=str(recording),
        state="done",
        frames=frames,
        seconds=time.monotonic() - started,
        reason="" if reason == "new" else reason,
    )


def _into_place(
    job: Job, recording: Path, worker: Worker, attempt: str, progress: Progress | None
) -> int | None:
    """Frames that were written; ``None`` when somebody else had the same result first."""
    before = fingerprint(recording)
    part = job.out / f"{PART}{attempt}"
    try:
        with _as_sink_error(part):
            part.mkdir()
        frames = _run(job, recording, worker, part, progress)
        if fingerprint(recording) != before:
            raise SourceError(
                f"{recording} changed while it was read",
                remedy="run the command again when it is whole",
            )
        marker = {
            "path": str(recording),
            "recording": before,
            "model": job.model,
            "settings": dict(job.settings),
            "outputs": {name: size_of(part / name) for name in sorted(job.outputs.values())},
            "frames": frames,
            "run": job.run,
            "attempt": attempt,
        }
        with _as_sink_error(part):
            with (part / MARKER).open("w", encoding="utf-8") as file:
                file.write(json.dumps(marker, indent=1, ensure_ascii=False) + "\n")
                file.flush()
                os.fsync(file.fileno())
            return frames if _renamed(job, recording, part, attempt) else None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _run(job: Job, recording: Path, worker: Worker, part: Path, progress: Progress | None) -> int:
    inside = {flag: part / name for flag, name in job.outputs.items()}
    none = dict.fromkeys(("overlay", "csv_path", "frames", "masks"))
    sinks = sinks_from_flags({**job.flags, **none, **inside, "overwrite": False}, live=False)
    source = open_source(recording, source_options(job.flags))
    try:
        session = worker.session
        analyser = make_analyser(
            session, raw=job.flags["raw"], live=False, classify=worker.classifier()
        )
    except BaseException:
        source.close()
        raise
    summary = run_lossless(
        analyser,
        source,
        sinks,
        painter=Painter(session.classes),
        workers=worker.ahead,
        progress=progress,
        limit=job.flags["limit"],
    )
    return summary.counts.written


def _renamed(job: Job, recording: Path, part: Path, attempt: str) -> bool:
    """Gives results their name; false when the same ones are there already."""
    folder = folder_of(job.out, recording)
    old = job.out / f"{OLD}{attempt}"
    if folder.exists():
        if not why_to_do(job, recording):
            return False
        folder.rename(old)
    try:
        # A folder that is not empty is never replaced: of two that come at once, one fails here.
        part.rename(folder)
    except OSError:
        if why_to_do(job, recording):
            raise
        return False
    finally:
        shutil.rmtree(old, ignore_errors=True)
    return True


@contextlib.contextmanager
def _as_sink_error(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise sink_error(path, error) from error
