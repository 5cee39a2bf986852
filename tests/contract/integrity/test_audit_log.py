"""The audit log: whatever is done to its lines is found, and a crash costs no later record."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import subprocess
import sys
from pathlib import Path

import pytest

from trocar.contract.errors import IntegrityError, SinkError
from trocar.contract.integrity.audit_log import FIRST, append_record, verify_log


def filled(path: Path, records: int = 6) -> list[bytes]:
    for number in range(records):
        event = "finished" if number % 2 else "started"
        append_record(path, {"event": event, "run": f"r{number // 2}", "text": 'a "line"\n é'})
    return path.read_bytes().splitlines(keepends=True)


def test_records_are_chained_and_readable_by_other_tools(tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    lines = filled(log)
    previous = FIRST
    for number, line in enumerate(lines, start=1):
        record = json.loads(line)
        assert record["sequence"] == number
        assert record["previous"] == previous
        body = line.split(b',"hash":"')[0]
        previous = record["hash"]
        assert hashlib.sha256(body).hexdigest() == previous
    summary = verify_log(log)
    assert (summary.records, summary.head, summary.unfinished) == (6, previous, ())
    append_record(log, {"event": "started", "run": "last"})
    assert verify_log(log).unfinished == ("last",)
    assert verify_log(log, head=previous).records == 7


def test_every_change_is_found_and_stops_the_next_record(tmp_path: Path) -> None:
    original = tmp_path / "original.jsonl"
    lines = filled(original)
    whole = b"".join(lines)
    forged = json.loads(lines[2]) | {"text": "other"}
    changes = {
        "removed first": lines[1:],
        "removed in the middle": [*lines[:2], *lines[3:]],
        "swapped": [lines[0], lines[2], lines[1], *lines[3:]],
        "twice": [*lines[:3], lines[2], *lines[3:]],
        "first moved to the end": [*lines[1:], lines[0]],
        "blank line": [*lines[:2], b"\n", *lines[2:]],
        "text": [*lines[:2], json.dumps(forged).encode() + b"\n", *lines[3:]],
        "no record": [*lines, b"{}\n"],
        "other text": [*lines[:3], b"hello\n", *lines[3:]],
    }
    # A line that its forger hashed anew no longer fits the line after it.
    body = lines[2].split(b',"hash":"')[0].replace(b'"r1"', b'"r9"')
    rehashed = body + f',"hash":"{hashlib.sha256(body).hexdigest()}"}}\n'.encode()
    changes["hashed anew"] = [*lines[:2], rehashed, *lines[3:]]
    for byte in range(0, len(whole), 37):
        flipped = bytearray(whole)
        flipped[byte] ^= 1
        changes[f"bit of byte {byte}"] = [bytes(flipped)]
    log = tmp_path / "log.jsonl"
    for name, content in changes.items():
        data = b"".join(content)
        log.write_bytes(data)
        for call in (lambda: verify_log(log), lambda: append_record(log, {"event": "started"})):
            with pytest.raises(IntegrityError, match="was changed: line"):
                pytest.fail(f"{name} was accepted: {call()}")
        assert log.read_bytes() == data, name


def test_a_noted_hash_shows_what_was_cut_off_or_written_anew(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    lines = filled(log)
    head = verify_log(log).head
    log.write_bytes(b"".join(lines[:-2]))
    assert verify_log(log).records == 4
    with pytest.raises(IntegrityError, match="removed from its end, or it was written anew"):
        verify_log(log, head=head)
    log.unlink()
    append_record(log, {"event": "started", "run": "another"})
    with pytest.raises(IntegrityError, match="holds no record with the hash"):
        verify_log(log, head=head)


@pytest.mark.parametrize("cut", [1, 2, 40, 150])
def test_a_line_cut_by_a_crash_is_told_noted_and_followed(cut: int, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    lines = filled(log)
    data = b"".join(lines)[:-cut]
    log.write_bytes(data)
    if cut == 1:
        assert verify_log(log).records == 6  # only the end of the line is missing
    else:
        with pytest.raises(IntegrityError, match="ends with a line that is cut, after record 5"):
            verify_log(log)
    append_record(log, {"event": "started", "run": "next"})
    assert log.read_bytes().startswith(data + b"\n")
    found = verify_log(log)
    assert (found.records, found.interrupted) == ((7, 0) if cut == 1 else (6, 1))
    # Another crash in the same place.
    log.write_bytes(log.read_bytes()[:-30])
    append_record(log, {"event": "finished", "run": "next"})
    found = verify_log(log)
    assert found.interrupted == (1 if cut == 1 else 2)
    # What was cut may not be changed later, either.
    changed = log.read_bytes().replace(data.splitlines()[-1], data.splitlines()[-1] + b"x")
    log.write_bytes(changed)
    with pytest.raises(IntegrityError, match="was changed"):
        verify_log(log)


def _append(path: Path, count: int) -> None:
    for number in range(count):
        append_record(path, {"event": "note", "number": number})


def test_processes_may_append_at_once(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_append, args=(log, 8)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert verify_log(log).records == 24


def test_logs_that_cannot_be_written(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "no" / "log", Path("/dev/null")):
        with pytest.raises(SinkError, match="cannot write the audit log"):
            append_record(path, {"event": "started"})
    with pytest.raises(SinkError, match="cannot read the audit log"):
        verify_log(tmp_path / "nowhere")


KILLED = """
import os, signal, sys
from pathlib import Path
from trocar.contract.integrity.audit_log import append_record
real = os.write
def half(handle, data):
    real(handle, data[: len(data) // 2])
    os.kill(os.getpid(), signal.SIGKILL)
append_record(Path(sys.argv[1]), {"event": "started", "run": "a"})
os.write = half
append_record(Path(sys.argv[1]), {"event": "finished", "run": "a"})
"""


def test_a_process_killed_in_the_middle_of_a_write(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    done = subprocess.run([sys.executable, "-c", KILLED, str(log)], check=False)
    assert done.returncode == -9
    append_record(log, {"event": "started", "run": "b"})
    found = verify_log(log)
    assert (found.records, found.interrupted, found.unfinished) == (2, 1, ("a", "b"))
