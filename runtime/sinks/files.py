"""Output files that are whole or absent."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from trocar.contract.errors import OutputExistsError, SinkError


class PartFile:
    """A file that takes its name when it is whole."""

    def __init__(self, path: Path, *, overwrite: bool, direct: bool) -> None:
        self.path = path
        self.overwrite = overwrite
        self.direct = direct
        self.part = path

    def prepare(self) -> Path:
        """Makes the folder and gives the name to write under.

        Raises:
            OutputExistsError: The file is there and may not be replaced.
            SinkError: The folder cannot be made.
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
                self.part = Path(name)
        except OSError as error:
            raise sink_error(self.path, error) from error
        return self.part

    def commit(self) -> None:
        """Gives the file its name.

        Raises:
            SinkError: It cannot be renamed.
        """
        if self.direct:
            return
        try:
            os.replace(self.part, self.path)
        except OSError as error:
            raise sink_error(self.path, error) from error

    def discard(self) -> None:
        """Removes what was written under the temporary name; a direct file stays."""
        if not self.direct and self.part != self.path:
            with contextlib.suppress(OSError):
                self.part.unlink()


def check_free(path: Path, *, overwrite: bool) -> None:
    """Refuses an output that is there already.

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
    """Words for what the system said about an output."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return SinkError(
        f"cannot write {path}: {text}", remedy="free space, mend permissions or choose another disk"
    )
