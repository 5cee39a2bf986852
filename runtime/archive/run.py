"""Many recordings, one after the other or over a Ray cluster; what is done is not done again.

trocar run model.trocar 'archive/**/*.mp4' --out results
trocar run model.trocar 'archive/**/*.mp4' --out results --ray local

Stop it when you like: the same command goes on where it was. A recording that cannot be read stops
no other; all such are listed at the end.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from trocar.console.run import progress_bar
from trocar.contract.bundle import MANIFEST, open_bundle, sha256_of
from trocar.contract.errors import ConfigError, OutputExistsError, SourceError, TrocarError
from trocar.runtime.archive.state import LOG, MARKER, OLD, PART, Job, Outcome, folder_of, why_to_do
from trocar.runtime.archive.worker import Worker, process
from trocar.runtime.sinks.files import sink_error
from trocar.runtime.sources.base import is_stream

_OUTPUTS = ("json_path", "csv_path", "overlay", "frames", "masks")
_CHANGING = (
    *("precision", "fast_resize", "raw", "unknown_below", "limit", "allow_truncated"),
    *("codec", "preset", "quality"),
)
"""Flags that change results; those of speed do not, so that another machine may go on."""
_NOT_HERE = (
    *("live", "streams", "view", "trace", "metrics", "budget_ms", "step_down", "no_reconnect"),
    *("seconds", "paced"),
)
RESULTS = "results.jsonl"
SHOWN = 10
"""Failures that are told in full at the end; the log holds them all."""


def run_archive(places: Sequence[str], flags: Mapping[str, Any]) -> list[Outcome]:
    """Works through an archive; one line for each recording, on the standard error.

    Args:
        places: Files, folders of images, and patterns such as ``archive/**/*.mp4``.
        flags: The command line's.

    Raises:
        ConfigError: Flags that do not fit an archive.
        SourceError: Nothing matches.
        OutputExistsError: Another run works in the same folder.
        TrocarError: Recordings failed; all others were done.
    """
    out = Path(flags["out"]).absolute()
    outputs = outputs_from(flags)
    found = recordings_from(places, out)
    job = job_from(flags, out, outputs)
    with _locked(out):
        _clear(out)
        report = _Report(job, len(found))
        try:
            todo = [path for path in found if not report.passed_over(path)]
            if flags["ray"] and todo:
                from trocar.runtime.archive.ray_executor import run_on_ray

                run_on_ray(job, todo, flags["ray"], report)
            elif todo:
                _run_here(job, todo, report)
        except BaseException:
            report.stopped()
            raise
        finally:
            _clear(out)
    report.finish()
    return report.outcomes


def recordings_from(places: Sequence[str], out: Path) -> list[Path]:
    """Absolute paths of the recordings, each once, in the order of their names.

    What lies in ``out`` is left out: a pattern may match the results of an earlier run.

    Raises:
        SourceError: A place that matches nothing.
        ConfigError: A live stream.
    """
    found: set[Path] = set()
    for place in places:
        if is_stream(place):
            raise ConfigError(
                f"{place} is a live stream, an archive holds recordings",
                remedy="run it without --out",
            )
        matched = [place] if os.path.exists(place) else glob.glob(place, recursive=True)
        inside = {Path(os.path.abspath(match)) for match in matched}
        inside = {path for path in inside if out != path and out not in path.parents}
        if not inside:
            raise SourceError(
                f"nothing matches {place!r}",
                remedy="check the path; quote patterns: 'archive/**/*.mp4'",
            )
        found |= inside
    return sorted(found)


def outputs_from(flags: Mapping[str, Any]) -> dict[str, str]:
    """File name in a recording's folder by flag; JSON lines are always among them.

    Raises:
        ConfigError: Flags for one recording or for live runs, or names that are no plain names;
            all faults at once.
    """
    names = {flag: str(flags[flag]) for flag in _OUTPUTS if flags[flag]}
    names.setdefault("json_path", RESULTS)
    faults = [
        f"--{flag.replace('_', '-')} is not for archives" for flag in _NOT_HERE if flags[flag]
    ]
    for name in names.values():
        if Path(name).name != name or name.startswith(".") or name in ("", MARKER):
            faults.append(f"{name!r} is no plain file name")
    if len(set(names.values())) != len(names):
        faults.append("two outputs have the same name")
    if faults:
        raise ConfigError(
            "; ".join(faults),
            remedy="with --out each recording has a folder of its own; name files in it, e.g. "
            "--overlay overlay.mp4 --csv instruments.csv",
        )
    return names


def job_from(flags: Mapping[str, Any], out: Path, outputs: Mapping[str, str]) -> Job:
    """The job; the models are checked here, before any work.

    Raises:
        BundleError: The model, or the classifier, is no bundle or not whole.
    """
    model = Path(flags["model"]).absolute()
    settings: dict[str, Any] = {name: flags[name] for name in _CHANGING}
    if "overlay" not in outputs:
        settings = {k: v for k, v in settings.items() if k not in ("codec", "preset", "quality")}
    settings["outputs"] = dict(sorted(outputs.items()))
    classify = flags["classify"]
    if classify:
        classify = Path(classify).absolute()
        settings["classify"] = _model_hash(classify)
    return Job(
        flags={**flags, "model": model, "classify": classify},
        out=out,
        model=_model_hash(model),
        settings=settings,
        outputs=outputs,
        run=uuid.uuid4().hex[:12],
        again=bool(flags["overwrite"]),
    )


class _Report:
    """One line for each recording, and the sum of it all."""

    def __init__(self, job: Job, total: int) -> None:
        self.job = job
        self.total = total
        self.outcomes: list[Outcome] = []

    def passed_over(self, recording: Path) -> bool:
        """Whether nothing is to be done for a recording, which is then told."""
        try:
            if why_to_do(self.job, recording):
                return False
            self(Outcome(recording=str(recording), state="skipped"))
        except SourceError as error:
            self(
                Outcome(
                    recording=str(recording),
                    state="failed",
                    reason=error.message,
                    remedy=error.remedy,
                )
            )
        return True

    def __call__(self, outcome: Outcome) -> None:
        """Tells what became of a recording."""
        self.outcomes.append(outcome)
        width = len(str(self.total))
        words = {"skipped": "done before", "failed": f"failed: {outcome.reason}"}.get(outcome.state)
        if words is None:
            rate = outcome.frames / outcome.seconds if outcome.seconds else 0.0
            words = f"{outcome.frames} frames in {outcome.seconds:.1f} s ({rate:.1f} frames/s)"
            words += f", again: {outcome.reason}" if outcome.reason else ""
        place = os.path.relpath(outcome.recording)
        click.echo(f"[{len(self.outcomes):{width}}/{self.total}] {place}: {words}", err=True)

    def stopped(self) -> None:
        """Says what is left when the run is broken off."""
        done = sum(outcome.state != "failed" for outcome in self.outcomes)
        click.echo(
            f"{done} of {self.total} recordings are done; the same command goes on from here",
            err=True,
        )

    def finish(self) -> None:
        """The sum.

        Raises:
            TrocarError: Recordings failed.
        """
        count = {s: sum(o.state == s for o in self.outcomes) for s in ("done", "skipped", "failed")}
        click.echo(
            f"{count['done']} done, {count['skipped']} done before, {count['failed']} failed; "
            f"results in {self.job.out}",
            err=True,
        )
        failed = sorted(
            (o for o in self.outcomes if o.state == "failed"), key=lambda o: o.recording
        )
        if failed:
            told = [f"\n  {o.recording}: {o.reason}" for o in failed[:SHOWN]]
            if len(failed) > SHOWN:
                told.append(f"\n  … and {len(failed) - SHOWN} more, see {self.job.out / LOG}")
            remedies = list(dict.fromkeys(o.remedy for o in failed if o.remedy))
            raise TrocarError(
                f"{len(failed)} of {self.total} recordings failed:" + "".join(told),
                remedy="; ".join([*remedies[:3], "then run the same command again"]),
            )


def _run_here(job: Job, todo: Sequence[Path], report: Callable[[Outcome], None]) -> None:
    worker = Worker(job.flags)
    try:
        # A model that does not open fails now, and not once for every recording.
        _ = worker.session
        for recording in todo:
            with progress_bar(recording.name) as progress:
                outcome = process(job, recording, worker, progress=progress)
            report(outcome)
    finally:
        worker.close()


def _model_hash(path: Path) -> str:
    """SHA-256 of a bundle's manifest, which holds the hashes of its files."""
    if path.suffix == ".onnx" and path.is_file():
        return sha256_of(path)
    bundle = open_bundle(path)
    return hashlib.sha256((bundle.path / MANIFEST).read_bytes()).hexdigest()


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Holds a folder of results for one run; the lock goes with the process."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        handle = os.open(out / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise sink_error(out, error) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise OutputExistsError(
                f"another run works in {out}", remedy="wait for it, or choose another --out"
            ) from error
        yield
    finally:
        os.close(handle)


def _clear(out: Path) -> None:
    """Removes what runs that were killed left half-written."""
    for start in (PART, OLD):
        for left in out.glob(f"{start}*"):
            shutil.rmtree(left, ignore_errors=True)


__all__ = ["folder_of", "outputs_from", "recordings_from", "run_archive"]
