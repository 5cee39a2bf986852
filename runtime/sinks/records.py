"""Sinks for records: JSON lines, CSV, folders of PNG images, a Python function.

sink = JsonLines(Path("out.jsonl"))
sink.open(StreamInfo(name="clip", size=(1080, 1920), fps=25.0))

A text file whose name ends in ``.gz`` is compressed with gzip.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

from trocar.contract.instances.masks import MaskForm
from trocar.contract.media.label_maps import enlarge
from trocar.contract.media.pictures import encode_picture
from trocar.contract.text.strict_json import without_nan
from trocar.runtime.sinks.base import FrameEvent, StreamInfo
from trocar.runtime.sinks.files import AtomicFile, AtomicFolder, sink_error


class _TextFile:
    """Common part of JSON lines and CSV."""

    wants_every_frame = False

    def __init__(self, path: Path, *, overwrite: bool = False, live: bool = False) -> None:
        self.name = str(path)
        self._output = AtomicFile(path, overwrite=overwrite, live=live)
        self._unbuffered = live or self._output.node
        self._file: TextIO | None = None
        self._packed: BinaryIO | None = None

    def open(self, info: StreamInfo) -> None:
        """Opens the file."""
        path = self._output.prepare()
        try:
            # A live file is written line by line, so that a crash loses no line.
            if self._output.path.suffix.lower() == ".gz":
                self._packed = cast("BinaryIO", path.open(f"{self._output.mode}b"))
                # Without a name and a time: equal lines give equal files.
                packer = gzip.GzipFile(filename="", mode="wb", fileobj=self._packed, mtime=0)
                self._file = io.TextIOWrapper(
                    packer, encoding="utf-8", newline="\n", line_buffering=self._unbuffered
                )
            else:
                self._file = path.open(
                    self._output.mode,
                    encoding="utf-8",
                    newline="\n",
                    buffering=1 if self._unbuffered else -1,
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
        """Flushes to disk."""
        if self._file is None:
            return
        with self._writing() as text:
            file: TextIO | BinaryIO = text
            if self._packed is not None:
                # Writes what ends a gzip file, and leaves the file below open.
                text.close()
                file = self._packed
            file.flush()
            if not self._output.node:
                os.fsync(file.fileno())
            file.close()

    def commit(self) -> None:
        """Gives the file its final name."""
        self._output.commit()

    def settle(self) -> None:
        """Removes what it replaced."""
        self._output.settle()

    def discard(self) -> None:
        """Removes the unfinished file; after `commit` it restores what was replaced."""
        for file in (self._file, self._packed):
            if file is not None:
                with contextlib.suppress(OSError, ValueError):
                    file.close()
        self._output.discard()


class JsonLines(_TextFile):
    """One JSON object for each result; ``docs/results-schema.md`` describes the fields.

    Args:
        path: The file; compressed where its name ends in ``.gz``.
        overwrite: Whether a file that exists is replaced.
        live: Whether it has its final name from the start, and is flushed line by line.
        masks: Form in which the masks of instruments are added; ``None`` leaves them out.
    """

    def __init__(
        self,
        path: Path,
        *,
        overwrite: bool = False,
        live: bool = False,
        masks: MaskForm | None = None,
    ) -> None:
        super().__init__(path, overwrite=overwrite, live=live)
        self._masks = masks

    def write(self, event: FrameEvent) -> None:
        """Writes one line."""
        if event.result is not None:
            data = without_nan(event.result.to_dict(masks=self._masks))
            line = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
            with self._writing() as file:
                file.write(line + "\n")


CSV_COLUMNS = (
    *("frame", "time", "class_id", "class", "track_id", "score"),
    *("x0", "y0", "x1", "y1", "centroid_x", "centroid_y", "area", "angle"),
    *("entry_x", "entry_y", "tip1_x", "tip1_y", "tip2_x", "tip2_y", "touches_border"),
)


class Csv(_TextFile):
    """One row for each instrument."""

    def open(self, info: StreamInfo) -> None:
        """Opens the file and writes the header."""
        super().open(info)
        with self._writing() as file:
            csv.writer(file, lineterminator="\n").writerow(CSV_COLUMNS)

    def write(self, event: FrameEvent) -> None:
        """Writes the rows of one result."""
        if event.result is None:
            return
        with self._writing() as file:
            writer = csv.writer(file, lineterminator="\n")
            for instrument in event.result.to_dict()["instruments"]:
                tips: list[Any] = [v for tip in instrument["tips"] for v in tip]
                writer.writerow(
                    [
                        event.result.frame_id,
                        round(event.result.time, 6),
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


class PngFolder:
    """A folder with one PNG for each frame: overlays, or label maps at frame size.

    A label map is a single-channel PNG whose grey value is the class id. It is enlarged from
    network size by nearest neighbour.

    Args:
        path: The folder.
        masks: Whether label maps are written instead of overlays.
        overwrite: Whether a folder that an earlier run wrote is replaced; another never is.
        live: Whether what was written stays, under a partial name, if the run dies.
    """

    def __init__(
        self, path: Path, *, masks: bool = False, overwrite: bool = False, live: bool = False
    ) -> None:
        self.name = str(path)
        self.wants_every_frame = not masks
        self._masks = masks
        self._output = AtomicFolder(path, overwrite=overwrite, live=live)
        self._folder: Path | None = None

    def open(self, info: StreamInfo) -> None:
        """Makes a temporary folder beside the final one."""
        self._folder = self._output.prepare()

    def write(self, event: FrameEvent) -> None:
        """Writes one PNG."""
        assert self._folder is not None, "open it first"
        if self._masks:
            labels = None if event.result is None else event.result.labels
            if labels is None:
                return
            image = enlarge(labels, event.frame.size)
        else:
            image = event.overlay()
        file = self._folder / f"{event.frame.index:06d}.png"
        try:
            file.write_bytes(encode_picture(image, ".png", compression=1))
        except OSError as error:
            raise sink_error(file, error) from error

    def close(self) -> None:
        """Does nothing: nothing is buffered."""

    def commit(self) -> None:
        """Gives the folder its final name."""
        self._output.commit()

    def settle(self) -> None:
        """Removes the folder that it replaced."""
        self._output.settle()

    def discard(self) -> None:
        """Removes the temporary folder; after `commit` it restores what was replaced."""
        self._output.discard()


class Callback:
    """Passes every event (or only fresh results) to a function.

    Args:
        function: Called from the sink's thread.
        every_frame: Whether it is called for every frame, or only for fresh results.
        name: Name for messages.
    """

    def __init__(
        self,
        function: Callable[[FrameEvent], None],
        *,
        every_frame: bool = True,
        name: str = "callback",
    ) -> None:
        self.name = name
        self.wants_every_frame = every_frame
        self._function = function

    def open(self, info: StreamInfo) -> None:
        """Does nothing: a function needs no preparation."""

    def write(self, event: FrameEvent) -> None:
        """Calls the function."""
        self._function(event)

    def close(self) -> None:
        """Does nothing: nothing is buffered."""

    def commit(self) -> None:
        """Does nothing: a function has no output to publish."""

    def discard(self) -> None:
        """Does nothing: a function has no output to remove."""
