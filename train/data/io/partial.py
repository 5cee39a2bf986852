"""A set that is written picture by picture, and taken up again after an interruption.

    with resumable_set(Path("frames"), {"source": "cholec80"}) as made:
        if not made.is_done("op1/0001", digest): made.mark("op1/0001", digest)

The set is written to ``.<name>.partial`` beside the output, and renamed after the last picture. A
journal there holds the name and the digest of each picture that is complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from trocar.contract.bundle import check_output, write_atomic
from trocar.contract.errors import DataError, SinkError
from trocar.contract.media.pictures import list_images, read_bytes
from trocar.contract.text.outside_json import load_json

_STATE = "import.json"
_JOURNAL = "done.tsv"
_PARTS = ("images", "masks", "instances")


class PartialSet:
    """The folder of a set while it is written.

    Attributes:
        folder: Where files are written.
        earlier: Number of complete pictures that an earlier call left.
    """

    def __init__(self, folder: Path, done: dict[str, str]) -> None:
        self.folder = folder
        self.earlier = len(done)
        self._done = done
        self._lock = Lock()

    def is_done(self, name: str, digest: str) -> bool:
        """Whether a picture was written completely, from the same content."""
        return self._done.get(name) == digest

    def mark(self, name: str, digest: str) -> None:
        """Notes that all files of a picture are written; threads may call it."""
        line = json.dumps([name, digest]) + "\n"
        with self._lock, (self.folder / _JOURNAL).open("a", encoding="utf-8") as journal:
            journal.write(line)
            journal.flush()
            self._done[name] = digest

    def keep_only(self, names: Collection[str]) -> None:
        """Removes pictures, masks and instance maps that are of none of the names."""
        for part in _PARTS:
            for file in list_images(self.folder / part):
                if file.relative_to(self.folder / part).with_suffix("").as_posix() not in names:
                    file.unlink()


@contextmanager
def resumable_set(out: Path, state: Mapping[str, Any]) -> Iterator[PartialSet]:
    """Gives the folder of a set to write, and renames it to ``out`` after the block.

    After an exception the folder stays, where at least one picture in it is complete.

    Args:
        out: Folder to make.
        state: What tells this import from another one, as plain values.

    Raises:
        OutputExistsError: ``out`` exists.
        DataError: The partial folder is of another import.
        SinkError: An ``OSError`` inside the block or on renaming.
    """
    check_output(out)
    folder = out.parent / f".{out.name}.partial"
    made: PartialSet | None = None
    try:
        made = PartialSet(folder, _claim(folder, state))
        yield made
        (folder / _STATE).unlink()
        (folder / _JOURNAL).unlink(missing_ok=True)
        os.replace(folder, out)
    except OSError as error:
        raise SinkError(
            f"cannot write {out}: {error}", remedy="free space, then run the same command again"
        ) from error
    finally:
        if made is not None and not (folder / _JOURNAL).is_file():
            shutil.rmtree(folder, ignore_errors=True)


def content_digest(parts: Iterable[bytes | Path | str]) -> str:
    """A digest of the given bytes and texts, and of the content of the given files.

    Of a file that is no picture and larger than 64 MB, a video for example, it covers the path,
    size and time.

    Raises:
        DataError: A file cannot be read.
    """
    made = hashlib.blake2b(digest_size=16)
    for part in parts:
        if isinstance(part, Path):
            part = _file_content(part)
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        made.update(str(len(data)).encode() + b"\0")
        made.update(data)
    return made.hexdigest()


def _file_content(path: Path) -> bytes:
    if not path.is_file():
        return str(path).encode("utf-8", "surrogateescape")
    status = path.stat()
    if status.st_size > 64 << 20:
        return f"{path} {status.st_size} {status.st_mtime_ns}".encode("utf-8", "surrogateescape")
    return read_bytes(path)


def _claim(folder: Path, state: Mapping[str, Any]) -> dict[str, str]:
    """Begins a partial folder, or gives what is done in one of the same import."""
    file = folder / _STATE
    if not file.is_file():
        if folder.exists() and any(folder.iterdir()):
            raise DataError(
                f"{folder} is in the way: it is no partial result of an import",
                remedy="remove or rename it",
            )
        write_atomic(file, json.dumps(state, indent=1).encode())
        return {}
    if load_json(file.read_text(encoding="utf-8")) != load_json(json.dumps(state)):
        raise DataError(
            f"{folder} is the partial result of another import",
            remedy="finish the other import first, or remove the folder",
        )
    done: dict[str, str] = {}
    journal = folder / _JOURNAL
    lines = journal.read_bytes().split(b"\n")[:-1] if journal.is_file() else []
    for line in lines:  # A line without an end was being written when the power failed.
        name, digest = load_json(line)
        done[name] = digest
    if lines:
        write_atomic(journal, b"".join(line + b"\n" for line in lines))
    return done
