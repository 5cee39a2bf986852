"""What an archive's results stand for: folders, markers, fingerprints and the log.

    why_to_do(job, Path("archive/a.mp4"))     # "" when it is done

A recording's results lie in a folder of their own with ``done.json`` in it, which says from what
recording, which model and which settings they come. ``log.jsonl`` tells the story of every attempt.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trocar.contract.errors import SourceError
from trocar.runtime.sinks.files import sink_error
from trocar.runtime.sources.base import IMAGE_SUFFIXES

MARKER = "done.json"
LOG = "log.jsonl"
PART = ".part."
OLD = ".old."


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is to be done with every recording; travels to workers on other machines.

    Attributes:
        flags: The command line's, with absolute paths.
        out: Folder of the results, absolute.
        model: SHA-256 of the bundle's manifest, which holds the hash of each of its files.
        settings: What changes the results, besides the recording and the model.
        outputs: File name in a recording's folder by flag.
        run: Name of this run.
        again: Do again what earlier runs did.
    """

    flags: Mapping[str, Any]
    out: Path
    model: str
    settings: Mapping[str, Any]
    outputs: Mapping[str, str]
    run: str
    again: bool = False


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a recording.

    Attributes:
        recording: Its path.
        state: ``done``, ``skipped`` (done before) or ``failed``.
        frames: Frames that were analysed.
        seconds: What it took.
        reason: Why it failed, or was done again.
        remedy: What to do about a failure.
    """

    recording: str
    state: str
    frames: int = 0
    seconds: float = 0.0
    reason: str = ""
    remedy: str = ""


def folder_of(out: Path, recording: Path) -> Path:
    """Where a recording's results lie: its name, and what tells it from others of that name."""
    digest = hashlib.sha256(os.fsencode(recording)).hexdigest()[:10]
    return out / f"{recording.stem.lstrip('.')[:80]}-{digest}"


def fingerprint(recording: Path) -> dict[str, int | str]:
    """What changes when a recording does: its size and the time of its last change.

    Raises:
        SourceError: It cannot be looked at.
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
            f"cannot look at {recording}: {error.strerror}", remedy="check the path and the disk"
        ) from error
    return {"size": found.st_size, "stamp": str(found.st_mtime_ns)}


def why_to_do(job: Job, recording: Path) -> str:
    """Why a recording is to be done, in words; empty when it is done.

    Raises:
        SourceError: The recording cannot be looked at.
    """
    folder = folder_of(job.out, recording)
    try:
        marker = json.loads((folder / MARKER).read_bytes())
        outputs = {name: int(size) for name, size in marker["outputs"].items()}
        if marker["recording"] != fingerprint(recording):
            return "the recording has changed"
        if marker["model"] != job.model:
            return "the model is another"
        if marker["settings"] != job.settings:
            return "the settings are others"
        if job.again and marker["run"] != job.run:
            return "asked for"
    except OSError:
        return "new"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"its {MARKER} is damaged"
    if {name: size_of(folder / name) for name in outputs} != outputs:
        return "results are missing"
    return ""


def log(job: Job, event: str, recording: Path, **more: Any) -> None:
    """Appends one line to the log, in one write: workers share the file."""
    line = {
        "event": event,
        "recording": str(recording),
        "run": job.run,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "time": round(time.time(), 3),
        **more,
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
    """Bytes of a file or of all files of a folder; -1 where there is none."""
    if path.is_dir():
        return sum(p.stat().st_size for p in path.iterdir())
    try:
        return path.stat().st_size
    except OSError:
        return -1
