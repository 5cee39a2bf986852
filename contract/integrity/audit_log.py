"""An append-only log of JSON lines, chained by SHA-256, so that a change of any line is found.

head = append_record(Path("audit.jsonl"), {"event": "started", "run": "5f0c"})
summary = verify_log(Path("audit.jsonl"))      # IntegrityError where a line was changed

Each line ends with ``"previous"``, the hash of the line before (64 zeros in the first), and
``"hash"``, the SHA-256 of all bytes of the line before ``,"hash":``. A line that a crash cut stays
in the file; the next record states its hash in ``"torn"``. Whoever can write the file can cut lines
off its end or write all of it anew: the last hash, kept elsewhere, shows that (``head``).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trocar.contract.errors import IntegrityError, SinkError
from trocar.contract.text.strict_json import parse_json

FIRST = "0" * 64
"""What the first record states as the hash of the record before it."""

_LINE = re.compile(rb'(\{.*),"hash":"([0-9a-f]{64})"\}')
_REMEDY = "keep this file as evidence, and begin a new log: --audit NEW_FILE"


@dataclass(frozen=True, kw_only=True)
class LogSummary:
    """What a log holds.

    Attributes:
        records: Number of records.
        head: Hash of the last record; `FIRST` for an empty log.
        unfinished: Runs that began and did not end, by their identifiers.
        torn: Bytes after the last record that are no record, because writing them was interrupted.
        interrupted: Records that were cut and are noted by the record after them.
    """

    records: int
    head: str
    unfinished: tuple[str, ...] = ()
    torn: bytes = b""
    interrupted: int = 0


def append_record(path: Path, record: Mapping[str, Any]) -> str:
    """Appends one record and flushes it to the disk.

    The whole log is verified first. Several processes may append to one log.

    Args:
        path: The log; it is made where it does not exist.
        record: JSON values; ``sequence``, ``previous``, ``torn`` and ``hash`` are added.

    Returns:
        The hash of the record.

    Raises:
        IntegrityError: A line of the log was changed, removed or moved; nothing is appended.
        SinkError: It cannot be read or written.
    """
    with _writing(path) as handle:
        data = _all_bytes(handle)
        text, head = _line(record, _verified(path, data))
        if data and not data.endswith(b"\n"):
            text = b"\n" + text
        # One write: a second process sees all of it or, after a crash, a line that is cut.
        while text:
            text = text[os.write(handle, text) :]
        os.fsync(handle)
        return head


def verify_log(path: Path, *, head: str | None = None) -> LogSummary:
    """Verifies every line of a log.

    Args:
        path: The log.
        head: Hash of a record that was noted elsewhere: the log must hold it.

    Raises:
        IntegrityError: A line was changed, removed or moved, the last line is cut, or no record has
            the hash ``head``.
        SinkError: The log cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SinkError(
            f"cannot read the audit log {path}: {error.strerror}",
            remedy="name the file that --audit wrote",
        ) from error
    summary = _verified(path, data, head=head)
    if summary.torn:
        raise IntegrityError(
            f"the audit log {path} ends with a line that is cut, after record {summary.records}: "
            "the machine stopped while it was written, or the file was changed",
            remedy="ask whether the machine stopped then; the next run notes the cut line and goes "
            "on",
        )
    return summary


def _verified(path: Path, data: bytes, *, head: str | None = None) -> LogSummary:
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    previous, records, interrupted = FIRST, 0, 0
    torn: list[bytes] = []
    begun: dict[str, None] = {}
    is_known = head is None
    for number, line in enumerate(lines, start=1):
        record = _record_of(line)
        if record is None:
            torn.append(line)
            continue
        stated = record.get("torn")
        expected = hashlib.sha256(b"\n".join(torn)).hexdigest() if torn else None
        if torn and stated is None:
            raise _broken(path, number - len(torn), "it is no record, or its hash is not its own")
        if stated != expected or record.get("previous") != previous:
            raise _broken(path, number, "it does not follow the line before it")
        if record.get("sequence") != records + 1:
            raise _broken(path, number, "its number in sequence is wrong")
        interrupted += len(torn)
        torn = []
        records += 1
        previous = str(record["hash"])
        is_known = is_known or previous == head
        run = str(record.get("run", ""))
        if record.get("event") == "started":
            begun[run] = None
        elif record.get("event") in ("finished", "failed"):
            begun.pop(run, None)
    if torn and data.endswith(b"\n"):
        raise _broken(path, len(lines) + 1 - len(torn), "it is no record, or was changed")
    if not is_known:
        raise IntegrityError(
            f"the audit log {path} holds no record with the hash {head}: records were removed from "
            "its end, or it was written anew",
            remedy="compare it with a copy; " + _REMEDY,
        )
    return LogSummary(
        records=records,
        head=previous,
        unfinished=tuple(begun),
        torn=b"\n".join(torn),
        interrupted=interrupted,
    )


def _record_of(line: bytes) -> dict[str, Any] | None:
    """The record of a line; ``None`` for a line that is no record or whose hash is wrong."""
    match = _LINE.fullmatch(line)
    if match is None or hashlib.sha256(match[1]).hexdigest() != match[2].decode():
        return None
    try:
        record = parse_json(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _line(record: Mapping[str, Any], summary: LogSummary) -> tuple[bytes, str]:
    """The line that follows what is in the log, and its hash."""
    members = {"sequence": summary.records + 1, **record}
    if summary.torn:
        members["torn"] = hashlib.sha256(summary.torn).hexdigest()
    members["previous"] = summary.head
    text = json.dumps(members, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    body = text.encode()[:-1]
    digest = hashlib.sha256(body).hexdigest()
    return body + f',"hash":"{digest}"}}\n'.encode(), digest


def _broken(path: Path, line: int, why: str) -> IntegrityError:
    return IntegrityError(
        f"the audit log {path} was changed: line {line}: {why}; every line before it is as it was "
        "written",
        remedy=_REMEDY,
    )


def _all_bytes(handle: int) -> bytes:
    os.lseek(handle, 0, os.SEEK_SET)
    chunks = []
    while chunk := os.read(handle, 1 << 20):
        chunks.append(chunk)
    return b"".join(chunks)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[int]:
    """The log, open for appending and locked."""
    try:
        is_new = not path.exists()
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise OSError(0, "it is no regular file")
            with contextlib.suppress(ImportError):
                import fcntl

                fcntl.flock(handle, fcntl.LOCK_EX)
            yield handle
        finally:
            os.close(handle)
        if is_new and hasattr(os, "O_DIRECTORY"):
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except OSError as error:
        raise SinkError(
            f"cannot write the audit log {path}: {error.strerror}",
            remedy="name a file that can be appended to, and free space on the disk",
        ) from error
