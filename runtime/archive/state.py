"""State of an archive job: result folders, ``done.json``, fingerprints and the log.

    reason_to_process(job, Path("archive/a.mp4"))     # "" when its results are up to date

The results of a recording lie in a folder of their own. ``done.json`` in it states the recording,
the model and the settings that they come from. ``log.jsonl`` has one line for each event of every
attempt.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trocar.contract.errors import SourceError
from trocar.contract.media.pictures import IMAGE_SUFFIXES
from trocar.contract.text.outside_json import load_json
from trocar.contract.text.words import printable_path
from trocar.runtime.draw.show import DEFAULT_SHOW
from trocar.runtime.pipeline.options import RunOptions, TemporalOptions
from trocar.runtime.sinks.files import sink_error

MARKER = "done.json"
LOG = "log.jsonl"
PART = ".part."
OLD = ".old."
NEW = "new"
"""The reason to process a recording that has no results yet."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is done with every recording; is sent to workers on other machines.

    Attributes:
        options: The run's options, with absolute paths.
        out: Folder of the results, absolute.
        model: SHA-256 of the bundle's manifest, which contains the hash of each of its files.
        settings: Settings that change the results, see `settings_of`.
        outputs: File name in a recording's folder by field of `OutputOptions`.
        run: Identifier of this run.
        overwrite: Whether recordings that earlier runs finished are processed again.
    """

    options: RunOptions
    out: Path
    model: str
    settings: Mapping[str, Any]
    outputs: Mapping[str, str]
    run: str
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Result of one recording.

    Attributes:
        recording: Its path.
        state: ``done``, ``skipped`` (done before) or ``failed``.
        frames: Frames that were written.
        damage: What of the recording was damaged or missing and not accepted, in words.
        seconds: Duration.
        reason: Why it failed, or why it was processed again.
        remedy: What to do about a failure.
    """

    recording: str
    state: str
    frames: int = 0
    damage: str = ""
    seconds: float = 0.0
    reason: str = ""
    remedy: str = ""


_SETTING_OF_OUTPUT = {"json": "json_path", "csv": "csv_path"}


def settings_of(
    options: RunOptions,
    outputs: Mapping[str, str],
    *,
    classifier: str | None = None,
    body: str | None = None,
) -> dict[str, Any]:
    """Settings that change results and therefore stand in ``done.json``.

    The keys are part of the format and are those of 0.1, so that an archive that 0.1 began is not
    processed again. Settings of speed (threads, device, backend) are not among them: another
    machine may continue.

    Args:
        options: The run's options.
        outputs: File name by field of `OutputOptions`.
        classifier: Hash of the classifier bundle, if there is one.
        body: Hash of the out-of-body model, if there is one.
    """
    model, read, encoding = options.model, options.input, options.output.encoding
    settings: dict[str, Any] = {
        "precision": model.precision,
        "fast_resize": model.fast_resize,
        "raw": not model.postprocess,
        "unknown_below": model.reject_below,
        "limit": read.max_frames,
        "allow_truncated": read.source.allow_truncated,
    }
    if read.source.stream is not None:
        settings["video_stream"] = read.source.stream
    if "overlay" in outputs:
        settings |= {
            "codec": encoding.codec,
            "preset": encoding.preset,
            "quality": encoding.quality,
        }
    if options.output.json_masks is not None:
        settings["json_masks"] = options.output.json_masks
    if options.output.show != DEFAULT_SHOW and {"overlay", "frames"} & set(outputs):
        settings["show"] = list(options.output.show)
    names = {_SETTING_OF_OUTPUT.get(field, field): name for field, name in outputs.items()}
    settings["outputs"] = dict(sorted(names.items()))
    if model.postprocess and model.temporal != TemporalOptions():
        settings["temporal"] = asdict(model.temporal)
    if model.location:
        settings["location"] = dict(sorted(model.location.items()))
    if classifier is not None:
        settings["classify"] = classifier
    if body is not None:
        privacy = options.privacy
        settings["privacy"] = {"model": body, "mode": privacy.mode, "above": privacy.certainty}
    return settings


def folder_of(out: Path, recording: Path) -> Path:
    """Folder of a recording's results: its name, and ten digits of the hash of its path."""
    digest = hashlib.sha256(os.fsencode(recording)).hexdigest()[:10]
    return out / f"{recording.stem.lstrip('.')[:80]}-{digest}"


def fingerprint(recording: Path) -> dict[str, int | str]:
    """Size and time of last change of a recording (of all images of a folder).

    Raises:
        SourceError: It cannot be accessed.
    """
    try:
        if recording.is_dir():
            files = sorted(p for p in recording.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
            facts = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in files]
            stamp = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
            return {"size": sum(size for _, size, _ in facts), "stamp": stamp}
        found = recording.stat()
    except OSError as error:
        raise SourceError(
            f"cannot access {recording}: {error.strerror}", remedy="check the path and the disk"
        ) from error
    return {"size": found.st_size, "stamp": str(found.st_mtime_ns)}


def reason_to_process(job: Job, recording: Path) -> str:
    """Why a recording must be processed, as text; empty when its results are up to date.

    Raises:
        SourceError: The recording cannot be accessed.
    """
    folder = folder_of(job.out, recording)
    try:
        marker = load_json((folder / MARKER).read_bytes())
        outputs = {name: int(size) for name, size in marker["outputs"].items()}
        if marker["recording"] != fingerprint(recording):
            return "the recording has changed"
        if marker["model"] != job.model:
            return "the model has changed"
        if marker["settings"] != job.settings:
            return "the settings have changed"
        if job.overwrite and marker["run"] != job.run:
            return "--overwrite"
    except OSError:
        return NEW
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return f"its {MARKER} is damaged"
    if {name: size_of(folder / name) for name in outputs} != outputs:
        return "results are missing"
    return ""


def log(job: Job, event: str, recording: Path, **extra: Any) -> None:
    """Appends one line to the log, in one write, because workers share the file.

    Raises:
        SinkError: It cannot be written.
    """
    line = {
        "event": event,
        "recording": printable_path(recording),
        "run": job.run,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "time": round(time.time(), 3),
        **extra,
    }
    data = (json.dumps(line, ensure_ascii=False) + "\n").encode()
    try:
        handle = os.open(job.out / LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, data)
        finally:
            os.close(handle)
    except OSError as error:
        raise sink_error(job.out / LOG, error) from error


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a folder; -1 when it does not exist."""
    try:
        if path.is_dir():
            return sum(p.stat().st_size for p in path.iterdir())
        return path.stat().st_size
    except (OSError, ValueError):  # A name from a damaged file can hold anything.
        return -1
