"""Output files that are published atomically: complete under their names, or absent.

file = AtomicFile(Path("out.jsonl"), overwrite=False, direct=False)
file.prepare().write_bytes(b"...")
file.commit()
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from trocar.contract.errors import OutputExistsError, SinkError


class AtomicFile:
    """A file that is written under a temporary name and renamed when it is complete.

    Args:
        path: Its final name.
        overwrite: Whether an existing file is replaced.
        direct: Whether it is written under its final name from the start.

    Attributes:
        temporary: The name under which it is written, after `prepare`.
    """

    def __init__(self, path: Path, *, overwrite: bool, direct: bool) -> None:
        self.path = path
        self.overwrite = overwrite
        self.direct = direct
        self.temporary = path

    def prepare(self) -> Path:
        """Makes the folder and returns the name under which to write.

        Raises:
            OutputExistsError: The file exists and may not be replaced.
            SinkError: The folder or the temporary file cannot be made.
        """
        check_free(self.path, overwrite=self.overwrite)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if not self.direct:
                # The suffix stays last: FFmpeg chooses the format by it.
                handle, name = tempfile.mkstemp(
                    prefix=f".{self.path.stem}.part.", suffix=self.path.suffix, dir=self.path.parent
                )
                os.close(handle)
                os.chmod(name, 0o644)
                self.temporary = Path(name)
        except OSError as error:
            raise sink_error(self.path, error) from error
        return self.temporary

    def commit(self) -> None:
        """Gives the file its final name.

        Raises:
            SinkError: It cannot be renamed.
        """
        if self.direct:
            return
        try:
            os.replace(self.temporary, self.path)
        except OSError as error:
            raise sink_error(self.path, error) from error

    def discard(self) -> None:
        """Removes the temporary file; a direct file stays."""
        if not self.direct and self.temporary != self.path:
            with contextlib.suppress(OSError):
                self.temporary.unlink()


def check_free(path: Path, *, overwrite: bool) -> None:
    """Refuses an output that exists already.

    Raises:
        OutputExistsError: It exists and may not be replaced, or is a folder.
    """
    if path.is_dir() and overwrite:
        raise OutputExistsError(f"{path} is a folder", remedy="choose another name")
    if path.exists() and not overwrite:
        raise OutputExistsError(
            f"{path} exists already", remedy="choose another name, or pass --overwrite"
        )


def sink_error(path: object, error: BaseException) -> SinkError:
    """The `SinkError` for what the operating system reported about an output."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return SinkError(
        f"cannot write {path}: {text}",
        remedy="free disk space, correct the permissions or choose another disk",
    )
