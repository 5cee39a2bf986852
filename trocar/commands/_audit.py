"""Appends what a run did to an audit log: a record when it begins, a record when it ends.

with audited(request, config_values(ctx)) as finished:
    start(request, finished=finished)
"""

from __future__ import annotations

import contextlib
import datetime
import platform
import socket
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trocar import __version__
from trocar.commands._run_request import RunRequest
from trocar.contract.bundle import MANIFEST, sha256_of
from trocar.contract.errors import InterruptedByUserError, TrocarError
from trocar.contract.integrity.audit_log import append_record
from trocar.contract.integrity.manifest_hash import manifest_sha256
from trocar.contract.text.words import printable_path
from trocar.runtime.archive.job import recordings_from
from trocar.runtime.archive.state import folder_of
from trocar.runtime.sources.addresses import redacted

if TYPE_CHECKING:
    from trocar.runtime.archive.state import Outcome

_PACKAGES = (
    *("numpy", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt", "tensorrt-rtx"),
    *("opencv-python-headless", "av", "scipy"),
)


@contextlib.contextmanager
def audited(request: RunRequest, flags: Mapping[str, Any]) -> Iterator[Callable[[Outcome], None]]:
    """Appends ``started``, then ``finished`` or ``failed`` with the hashes of all outputs.

    A log that was changed stops the run before it begins.

    Args:
        request: The run.
        flags: Its flags by name, without secrets.

    Yields:
        To be called with the outcome of each recording of an archive.

    Raises:
        IntegrityError: The log was changed.
        SinkError: The log cannot be written.
    """
    assert request.audit is not None, "there is a log to write"
    log, run = request.audit, uuid.uuid4().hex
    model = request.options.model
    bundles = {
        "model": model.path,
        "classifier": model.classifier,
        "out_of_body": request.options.privacy.model,
    }
    started = {
        "event": "started",
        "run": run,
        "time": _now(),
        "host": socket.gethostname(),
        "bundles": {key: _bundle(path) for key, path in bundles.items() if path is not None},
        "sources": [redacted(printable_path(source)) for source in request.sources],
        "options": dict(flags),
        "versions": _versions(),
    }
    append_record(log, started)
    before = {file: _stamp(file) for file in _files(request, ())}
    outcomes: list[Outcome] = []

    def end(record: dict[str, Any]) -> None:
        files = _files(request, outcomes)
        results = {
            printable_path(file): _hash(file) for file in files if before.get(file) != _stamp(file)
        }
        record |= {"run": run, "time": _now(), "results": results}
        if request.mode == "archive":
            record["recordings"] = [
                {"path": outcome.recording, "state": outcome.state, "frames": outcome.frames}
                for outcome in outcomes
            ]
        click.echo(f"audit log {log}: {append_record(log, record)}", err=True)

    try:
        yield outcomes.append
    except BaseException as error:
        try:
            end({"event": "failed", "error": _error(error)})
        except TrocarError as second:
            click.echo(f"error: {second}", err=True)
        raise
    end({"event": "finished"})


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")


def _bundle(path: Path) -> dict[str, str]:
    """Path and hash of a bundle: its manifest's, which covers every file; of a bare file its own.

    A bundle that cannot be read has none: opening it fails, and the next record says why.
    """
    digest = ""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        is_bundle = path.is_dir()
        digest = manifest_sha256((path / MANIFEST).read_bytes()) if is_bundle else sha256_of(path)
    return {"path": printable_path(path), "sha256": digest}


def _versions() -> dict[str, str]:
    found = {"trocar": __version__, "python": platform.python_version(), "os": platform.platform()}
    for package in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def _error(error: BaseException) -> dict[str, Any]:
    if isinstance(error, TrocarError):
        return {"type": type(error).__name__, "code": error.code, "message": error.message}
    if isinstance(error, KeyboardInterrupt):
        return {"type": InterruptedByUserError.__name__, "code": InterruptedByUserError.code}
    return {"type": type(error).__name__}


def _files(request: RunRequest, outcomes: Sequence[Outcome]) -> list[Path]:
    """The outputs that are there; of a folder all files in it."""
    if request.mode == "archive":
        paths = _folders(request, {o.recording for o in outcomes if o.state == "done"})
    else:
        output = request.options.output
        all_outputs = [output]
        if request.mode == "live":
            all_outputs = [output.numbered(number) for number in range(len(request.sources))]
        paths = [path for output in all_outputs for path in output.files().values()]
    within = (sorted(path.rglob("*")) if path.is_dir() else [path] for path in paths)
    return list(dict.fromkeys(file for files in within for file in files if file.is_file()))


def _folders(request: RunRequest, recordings: Collection[str]) -> list[Path]:
    """Folders of the results of recordings of an archive."""
    assert request.out is not None, "an archive has --out"
    out = request.out.absolute()
    with contextlib.suppress(TrocarError):
        found = recordings_from(request.sources, out) if recordings else []
        return [folder_of(out, path) for path in found if printable_path(path) in recordings]
    return []


def _stamp(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_ino, found.st_mtime_ns


def _hash(file: Path) -> str:
    try:
        return sha256_of(file)
    except OSError as error:
        return f"not readable: {error.strerror}"
