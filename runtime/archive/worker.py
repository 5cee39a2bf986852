"""One recording of an archive, from its frames to a folder of results.

    outcome = process(job, Path("archive/a.mp4"), Worker(job.options))

Results are published atomically: the folder gets its name in one step, when it is complete. When
two workers process the same recording, the results that are published second are deleted.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from trocar.contract.errors import InterruptedByUserError, SinkError, SourceError, TrocarError
from trocar.contract.text.words import printable_path
from trocar.runtime.archive.state import (
    MARKER,
    NEW,
    OLD,
    PART,
    Job,
    Outcome,
    fingerprint,
    folder_of,
    log,
    reason_to_process,
    size_of,
)
from trocar.runtime.draw.overlay import OverlayOptions, Painter
from trocar.runtime.pipeline.assemble import (
    give_planes,
    make_frame_processor,
    make_guard,
    make_sinks,
    open_body,
    open_second_stage,
    open_session,
    workers_for,
)
from trocar.runtime.pipeline.counters import Summary
from trocar.runtime.pipeline.crop_classifier import CropClassifier
from trocar.runtime.pipeline.offline import LosslessOptions, Progress, run_lossless
from trocar.runtime.pipeline.options import RunOptions
from trocar.runtime.privacy.body import BodyClassifier
from trocar.runtime.privacy.guard import FrameGuard
from trocar.runtime.session import Session
from trocar.runtime.sinks.files import sink_error
from trocar.runtime.sources.open import open_source


class Worker:
    """The models of one process, opened for the first recording and used for all others.

    Args:
        options: The run's options.
        prefetch: Frames in the model at once; default: as many as use all cores.
    """

    def __init__(self, options: RunOptions, *, prefetch: int | None = None) -> None:
        self._options = options
        self._prefetch = prefetch
        self._session: Session | None = None
        self._classifier: CropClassifier | None = None
        self._body: BodyClassifier | None = None

    @property
    def session(self) -> Session:
        """The model, opened on first use; raises what `Session.open` raises."""
        if self._session is None:
            self._session = open_session(self._options.model, live=False)
        return self._session

    @property
    def prefetch(self) -> int:
        """Frames in the model at once."""
        return self._prefetch or workers_for(self.session, self._options.model.threads)

    def classifier(self) -> CropClassifier | None:
        """A second stage without tracks, on the model that is already open; ``None`` without one.

        Raises:
            BundleError: It is not a classifier bundle.
        """
        if self._classifier is None:
            self._classifier = open_second_stage(self._options.model)
            return self._classifier
        threshold = self._options.model.reject_below
        return CropClassifier(self._classifier.session, threshold=threshold)

    def guard(self) -> FrameGuard | None:
        """A new guard on the out-of-body model; ``None`` without one.

        Raises:
            BundleError: It is not a classifier bundle with a class ``inside``.
        """
        privacy = self._options.privacy
        if self._body is None:
            self._body = open_body(privacy, self._options.model)
        return make_guard(privacy, self._body, live=False)

    def close(self) -> None:
        """Frees the models."""
        if self._body is not None:
            self._body.close()
        if self._session is not None:
            self._session.close()
        if self._classifier is not None:
            self._classifier.session.close()


def process(
    job: Job, recording: Path, worker: Worker, *, progress: Progress | None = None
) -> Outcome:
    """Processes one recording, unless its results are up to date.

    A failure is an outcome and not an exception; only Ctrl-C is raised. Incomplete results are
    removed in every case.

    Args:
        job: What to do.
        recording: The recording.
        worker: The models.
        progress: Called after each frame.
    """
    started = time.monotonic()
    attempt = uuid.uuid4().hex[:12]
    try:
        reason = reason_to_process(job, recording)
        if not reason:
            return Outcome(recording=printable_path(recording), state="skipped")
        log(job, "started", recording, attempt=attempt)
        done = publish_atomically(job, recording, worker, attempt=attempt, progress=progress)
    except InterruptedByUserError:
        raise
    except Exception as error:
        text, remedy = failure_of(error)
        # A full disk fails every recording; a log that cannot be written must not stop the run.
        with contextlib.suppress(SinkError):
            log(job, "failed", recording, attempt=attempt, reason=text)
        return Outcome(
            recording=printable_path(recording), state="failed", reason=text, remedy=remedy
        )
    if done is None:
        log(job, "second", recording, attempt=attempt)
        return Outcome(recording=printable_path(recording), state="skipped")
    frames, damage = done.counts.written, job.options.input.unaccepted(done.damage)
    log(job, "finished", recording, attempt=attempt, frames=frames, damage=done.damage.text)
    return Outcome(
        recording=printable_path(recording),
        state="done",
        frames=frames,
        damage=damage,
        seconds=time.monotonic() - started,
        reason="" if reason == NEW else reason,
    )


def failure_of(error: Exception) -> tuple[str, str]:
    """Why a recording failed, and what to do about it."""
    if isinstance(error, TrocarError):
        return printable_path(error.message), error.remedy
    text = printable_path(f"{type(error).__name__}: {error}")
    return text, "report this error with the recording"


def publish_atomically(
    job: Job, recording: Path, worker: Worker, *, attempt: str, progress: Progress | None = None
) -> Summary | None:
    """Writes the results of a recording into a temporary folder and renames it when complete.

    Returns:
        What was done; ``None`` when another worker published the same results first.

    Raises:
        SourceError: The recording cannot be read, or changed while it was read.
        SinkError: A result cannot be written.
    """
    before = fingerprint(recording)
    part = job.out / f"{PART}{attempt}"
    try:
        with _as_sink_error(part):
            part.mkdir()
        summary = _run(job, recording, worker, part, progress)
        if fingerprint(recording) != before:
            raise SourceError(
                f"{recording} changed while it was read",
                remedy="run the command again when the recording is complete",
            )
        marker = {
            "path": printable_path(recording),
            "recording": before,
            "model": job.model,
            "settings": dict(job.settings),
            "outputs": {name: size_of(part / name) for name in sorted(job.outputs.values())},
            "frames": summary.counts.written,
            "damage": summary.damage.to_dict(),
            "run": job.run,
            "attempt": attempt,
        }
        with _as_sink_error(part):
            with (part / MARKER).open("w", encoding="utf-8") as file:
                file.write(json.dumps(marker, indent=1, ensure_ascii=False) + "\n")
                file.flush()
                os.fsync(file.fileno())
            return summary if _renamed(job, recording, part, attempt) else None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _run(
    job: Job, recording: Path, worker: Worker, part: Path, progress: Progress | None
) -> Summary:
    options = job.options
    output = options.output.renamed({key: str(part / name) for key, name in job.outputs.items()})
    sinks = make_sinks(output, live=False)
    source = open_source(recording, options.input.source)
    try:
        session = worker.session
        give_planes(session, [source])
        processor = make_frame_processor(
            session, options.model, live=False, classifier=worker.classifier()
        )
        guard = worker.guard()
    except BaseException:
        source.close()
        raise
    return run_lossless(
        processor,
        source,
        sinks=sinks,
        painter=Painter(session.classes, OverlayOptions(show=output.show, reported_only=True)),
        options=LosslessOptions(workers=worker.prefetch, max_frames=options.input.max_frames),
        guard=guard,
        progress=progress,
    )


def _renamed(job: Job, recording: Path, part: Path, attempt: str) -> bool:
    """Gives results their final name; false when the same ones exist already."""
    folder = folder_of(job.out, recording)
    old = job.out / f"{OLD}{attempt}"
    if folder.exists():
        if not reason_to_process(job, recording):
            return False
        folder.rename(old)
    try:
        # A rename never replaces a folder that is not empty: of two at once, one fails here.
        part.rename(folder)
    except OSError:
        if reason_to_process(job, recording):
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
