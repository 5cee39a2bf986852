"""Sinks for records: JSON lines, CSV, folders of pictures, a function of yours.

sink = JsonLines(Path("out.jsonl"))
sink.open(info)
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import cv2

from trocar.contract.errors import OutputExistsError
from trocar.runtime.sinks.base import Shot, StreamInfo
from trocar.runtime.sinks.files import PartFile, sink_error


class _TextFile:
    """What JSON lines and CSV have in common."""

    pictures = False

    def __init__(self, path: Path, *, overwrite: bool = False, direct: bool = False) -> None:
        self.name = str(path)
        self._part = PartFile(path, overwrite=overwrite, direct=direct)
        self._file: TextIO | None = None

    def open(self, info: StreamInfo) -> None:
        """Opens the file."""
        try:
            # A direct file is written line by line, so that a crash costs no line.
            self._file = self._part.prepare().open(
                "w", encoding="utf-8", newline="\n", buffering=1 if self._part.direct else -1
            )
        except OSError as error:
            raise sink_error(self.name, error) from error

    @contextlib.contextmanager
    def _writing(self) -> Iterator[TextIO]:
        assert self._file is not None, "open it first"
        try:
            yield self._file
        except OSError as error:
            raise sink_error(self.name, error) from error

    def close(self) -> None:
        """Flushes to the disk."""
        if self._file is None:
            return
        with self._writing() as file:
            file.flush()
            if not self._part.direct:
                os.fsync(file.fileno())
            file.close()

    def commit(self) -> None:
        """Gives the file its name."""
        self._part.commit()

    def discard(self) -> None:
        """Removes the unfinished file."""
        if self._file is not None:
            with contextlib.suppress(OSError, ValueError):
                self._file.close()
        self._part.discard()


class JsonLines(_TextFile):
    """One JSON object a result; the fields stand in ``docs/results-schema.md``."""

    def write(self, shot: Shot) -> None:
        """Writes one line."""
        if shot.result is not None:
            line = json.dumps(shot.result.to_dict(), ensure_ascii=False, separators=(",", ":"))
            with self._writing() as file:
                file.write(line + "\n")


CSV_COLUMNS = (
    *("frame", "time", "class_id", "class", "track_id", "score"),
    *("x0", "y0", "x1", "y1", "centroid_x", "centroid_y", "area", "angle"),
    *("entry_x", "entry_y", "tip1_x", "tip1_y", "tip2_x", "tip2_y", "touches_border"),
)


class Csv(_TextFile):
    """One row an instrument."""

    def open(self, info: StreamInfo) -> None:
        """Opens the file and writes the head."""
        super().open(info)
        with self._writing() as file:
            csv.writer(file, lineterminator="\n").writerow(CSV_COLUMNS)

    def write(self, shot: Shot) -> None:
        """Writes the rows of one result."""
        if shot.result is None:
            return
        with self._writing() as file:
            writer = csv.writer(file, lineterminator="\n")
            for instrument in shot.result.to_dict()["instruments"]:
                tips: list[Any] = [v for tip in instrument["tips"] for v in tip]
                writer.writerow(
                    [
                        shot.result.frame_id,
                        round(shot.result.time, 6),
                        instrument["class_id"],
                        instrument["class"],
                        instrument.get("track_id", ""),
                        instrument["score"],
                        *instrument["box"],
                        *instrument["centroid"],
                        instrument["area"],
                        instrument["angle"],
                        *(instrument["entry"] or ["", ""]),
                        *(tips + [""] * (4 - len(tips))),
                        int(instrument["touches_border"]),
                    ]
                )


class Pictures:
    """A folder with one picture a frame: overlays, or label maps at frame size.

    Label maps are single-channel PNG whose grey value is the class id; the label map of the
    network is enlarged by nearest neighbour.
    """

    def __init__(self, path: Path, *, masks: bool = False, overwrite: bool = False) -> None:
        self.name = str(path)
        self.pictures = not masks
        self._path = path
        self._masks = masks
        self._overwrite = overwrite
        self._folder: Path | None = None

    def open(self, info: StreamInfo) -> None:
        """Makes a temporary folder beside the final one."""
        if self._path.exists() and not self._path.is_dir():
            raise OutputExistsError(f"{self._path} is a file", remedy="choose another name")
        if self._path.is_dir() and any(self._path.iterdir()) and not self._overwrite:
            raise OutputExistsError(
                f"{self._path} exists already and is not empty",
                remedy="choose another name, or pass --overwrite",
            )
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._folder = Path(
                tempfile.mkdtemp(prefix=f".{self._path.name}.part.", dir=self._path.parent)
            )
            self._folder.chmod(0o755)
        except OSError as error:
            raise sink_error(self._path, error) from error

    def write(self, shot: Shot) -> None:
        """Writes one picture."""
        assert self._folder is not None, "open it first"
        if self._masks:
            labels = None if shot.result is None else shot.result.labels
            if labels is None:
                return
            height, width = shot.frame.image.shape[:2]
            image = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        else:
            image = cv2.cvtColor(shot.picture(), cv2.COLOR_RGB2BGR)
        file = self._folder / f"{shot.frame.index:06d}.png"
        try:
            good, data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
            assert good
            file.write_bytes(data.tobytes())
        except OSError as error:
            raise sink_error(file, error) from error

    def close(self) -> None:
        """Nothing is left to flush."""

    def commit(self) -> None:
        """Gives the folder its name."""
        assert self._folder is not None, "open it first"
        try:
            if self._path.is_dir():
                shutil.rmtree(self._path)
            os.replace(self._folder, self._path)
        except OSError as error:
            raise sink_error(self._path, error) from error

    def discard(self) -> None:
        """Removes the temporary folder."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


class Callback:
    """Hands every shot (or only fresh results) to a function."""

    def __init__(
        self, function: Callable[[Shot], None], *, pictures: bool = True, name: str = "callback"
    ) -> None:
        self.name = name
        self.pictures = pictures
        self._function = function

    def open(self, info: StreamInfo) -> None:
        """Nothing is to be made ready."""

    def write(self, shot: Shot) -> None:
        """Calls the function."""
        self._function(shot)

    def close(self) -> None:
        """Nothing is left to flush."""

    def commit(self) -> None:
        """Nothing is to be put in place."""

    def discard(self) -> None:
        """Nothing is to be removed."""
