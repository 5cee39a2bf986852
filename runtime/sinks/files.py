"""Output files that are published atomically: complete under their names, or absent.

file = AtomicFile(Path("out.jsonl"), overwrite=False, live=False)
file.prepare().write_bytes(b"...")
commit_all([file])

What a live run writes cannot be made again. It has a clear name from the start
(``out.partial.jsonl``), which it keeps if the run dies or the output fails.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from trocar.contract.errors import SinkError
from trocar.contract.outputs import check_free, check_own_folder, is_node, mark_own

__all__ = [
    "AtomicFile",
    "AtomicFolder",
    "Committed",
    "check_free",
    "commit_all",
    "partial_name",
    "sink_error",
]


class Committed(Protocol):
    """An output that gets its final name; `discard` takes it back, even after `commit`."""

    def commit(self) -> None:
        """Gives the output its final name; raises `SinkError`."""
        ...

    def discard(self) -> None:
        """Removes what was written and restores what was replaced; never raises."""
        ...


@runtime_checkable
class Settles(Protocol):
    """An output that keeps what it replaced until all outputs are in place."""

    def settle(self) -> None:
        """Removes what was replaced; the output can no longer be taken back."""
        ...


def commit_all(outputs: Sequence[Committed]) -> None:
    """Gives all outputs their names, or none.

    Raises:
        SinkError: One cannot get its name; all others are taken back, and what they replaced is
            there again.
    """
    try:
        for output in outputs:
            output.commit()
    except BaseException:
        for output in outputs:
            output.discard()
        raise
    for output in outputs:
        if isinstance(output, Settles):
            output.settle()


class _Replacement:
    """Puts a finished file or folder in place, and can undo it."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self._old: Path | None = None
        self._done = False

    def place(self, temporary: Path) -> None:
        """Renames ``temporary`` to the target; what was there is kept beside it."""
        if os.path.lexists(self.target):
            old = Path(tempfile.mkdtemp(prefix=f".{self.target.name}.old.", dir=self.target.parent))
            self._old = old
            _keep(self.target, old / self.target.name)
        os.replace(temporary, self.target)
        self._done = True

    def undo(self, *, back: Path | None = None) -> None:
        """Restores what was there; never raises.

        Args:
            back: Where to keep what was put in place; by default it is removed.
        """
        with contextlib.suppress(OSError):
            if self._done and back is not None:
                os.replace(self.target, back)
            elif self._done:
                _remove(self.target)
            if self._old is not None and (self._old / self.target.name).exists():
                os.replace(self._old / self.target.name, self.target)
            self._done = False
        self.settle()

    def settle(self) -> None:
        """Removes what was there before; never raises."""
        if self._old is not None:
            shutil.rmtree(self._old, ignore_errors=True)
        self._old = None


class AtomicFile:
    """A file that is written under a temporary name and renamed when it is complete.

    A link is followed: the file behind it is replaced, and the link stays. Devices, pipes and
    ``/dev/stdout`` are written to directly.

    Args:
        path: Its final name.
        overwrite: Whether an existing file is replaced.
        live: Whether it is written as `partial_name` and never removed.

    Attributes:
        temporary: The name under which it is written, after `prepare`.
        node: Whether it is a device or a pipe, which is opened for appending.
        is_refused: Set where the output was refused at its opening: nothing was recorded, and
            `discard` removes a live file too.
    """

    def __init__(self, path: Path, *, overwrite: bool, live: bool) -> None:
        self.is_refused = False
        self.path = path
        self.overwrite = overwrite
        self.node = is_node(path)
        self.live = live
        self.temporary = path
        self._replacement: _Replacement | None = None

    @property
    def mode(self) -> Literal["a", "w"]:
        """Mode of `open` for texts."""
        return "a" if self.node else "w"

    def prepare(self) -> Path:
        """Makes the folder and returns the name under which to write.

        Raises:
            OutputExistsError: The file exists and may not be replaced.
            SinkError: The folder or the temporary file cannot be made.
        """
        check_free(self.path, overwrite=self.overwrite)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if not self.node:
                target = Path(os.path.realpath(self.path))
                # The suffix stays last: FFmpeg chooses the format by it.
                suffix = self.path.suffix
                if self.live:
                    final = target.with_name(target.stem + suffix)
                    self.temporary = _new_partial(final, Path.touch)
                else:
                    handle, name = tempfile.mkstemp(
                        prefix=f".{target.stem}.part.", suffix=suffix, dir=target.parent
                    )
                    os.close(handle)
                    os.chmod(name, 0o644)
                    self.temporary = Path(name)
                self._replacement = _Replacement(target)
        except OSError as error:
            raise sink_error(self.path, error) from error
        return self.temporary

    def commit(self) -> None:
        """Gives the file its final name.

        Raises:
            OutputExistsError: Someone wrote a file of that name meanwhile.
            SinkError: It cannot be renamed.
        """
        if self._replacement is None:
            return
        check_free(self.path, overwrite=self.overwrite)
        try:
            self._replacement.place(self.temporary)
        except OSError as error:
            raise sink_error(self.path, error) from error

    def settle(self) -> None:
        """Removes what it replaced."""
        if self._replacement is not None:
            self._replacement.settle()

    def discard(self) -> None:
        """Removes what was written and restores what it replaced; a live file stays as partial."""
        if self._replacement is None:
            return
        if self.live and not self.is_refused:
            self._replacement.undo(back=self.temporary)
            return
        with contextlib.suppress(OSError):
            self.temporary.unlink()
        self._replacement.undo()


class AtomicFolder:
    """A folder of results that is written under a temporary name and renamed when complete.

    Args:
        path: Its final name.
        overwrite: Whether a folder that an earlier run wrote is replaced.
        live: Whether it is written as `partial_name` and never removed.

    Attributes:
        temporary: The folder in which to write, after `prepare`.
    """

    def __init__(self, path: Path, *, overwrite: bool, live: bool = False) -> None:
        self.path = path
        self.overwrite = overwrite
        self.live = live
        self.temporary = path
        self._replacement: _Replacement | None = None

    def prepare(self) -> Path:
        """Makes a temporary folder beside the final one and returns it.

        Raises:
            OutputExistsError: The folder is not empty and may not be replaced, or is not Trocar's.
            SinkError: It cannot be made.
        """
        check_own_folder(self.path, overwrite=self.overwrite)
        target = Path(os.path.realpath(self.path))
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if self.live:
                self.temporary = _new_partial(target, Path.mkdir)
            else:
                made = tempfile.mkdtemp(prefix=f".{target.name}.part.", dir=target.parent)
                self.temporary = Path(made)
            self._replacement = _Replacement(target)
            self.temporary.chmod(0o755)
            mark_own(self.temporary)
        except OSError as error:
            raise sink_error(self.path, error) from error
        return self.temporary

    def commit(self) -> None:
        """Gives the folder its final name.

        Raises:
            OutputExistsError: Someone wrote other files into the folder meanwhile.
            SinkError: It cannot be renamed.
        """
        assert self._replacement is not None, "prepare it first"
        check_own_folder(self.path, overwrite=self.overwrite)
        try:
            self._replacement.place(self.temporary)
        except OSError as error:
            raise sink_error(self.path, error) from error

    def settle(self) -> None:
        """Removes the folder that it replaced."""
        if self._replacement is not None:
            self._replacement.settle()

    def discard(self) -> None:
        """Removes what was written and restores the folder that it replaced.

        A live folder stays as partial.
        """
        if self._replacement is not None and self.live:
            self._replacement.undo(back=self.temporary)
        elif self._replacement is not None:
            shutil.rmtree(self.temporary, ignore_errors=True)
            self._replacement.undo()


def partial_name(path: Path, number: int = 1) -> Path:
    """Name of a live output that is not complete: ``out.partial.mp4``, ``frames.partial``.

    Args:
        path: Its final name.
        number: Above 1 where earlier runs left theirs: ``out.partial-2.mp4``.
    """
    text = "partial" if number == 1 else f"partial-{number}"
    return path.with_name(f"{path.stem}.{text}{path.suffix}")


def _new_partial(path: Path, make: Callable[..., object]) -> Path:
    """Makes the first partial name that is free; an earlier run's is never replaced."""
    number = 1
    while True:
        partial = partial_name(path, number)
        try:
            make(partial, **({"exist_ok": False} if make is Path.touch else {}))
        except FileExistsError:
            number += 1
        else:
            return partial


def sink_error(path: object, error: BaseException) -> SinkError:
    """The `SinkError` for what the operating system reported about an output."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return SinkError(
        f"cannot write {path}: {text}",
        remedy="free disk space, correct the permissions or choose another disk",
    )


def _keep(path: Path, copy: Path) -> None:
    """Keeps what ``path`` is under another name; a file stays in place until it is replaced."""
    if not path.is_dir() or path.is_symlink():
        with contextlib.suppress(OSError):
            os.link(path, copy, follow_symlinks=False)
            return
    os.replace(path, copy)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
