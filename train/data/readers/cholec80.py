"""Cholec80: videos, the tools present in every 25th frame, and the phase of every frame.

    frames = open_frames("cholec80/").subset("test"); frames.items[0].extra["presence"]

A set without masks: each of seven tools is present or not. Annotations and frames are joined by
frame number; rows without a frame are left out, with a note. Videos 1-40 train, 41-80 test.
"""

from __future__ import annotations

import re
from pathlib import Path

from trocar.contract.classes import ClassRow, ClassTable, default_colour
from trocar.contract.errors import DataError
from trocar.contract.media.pictures import read_bytes
from trocar.train.data.io.video import read_frame, video_info
from trocar.train.data.readers.common import missing_paths
from trocar.train.data.readers.scan import Recognition, Scan, splits_by_group
from trocar.train.data.sample import Fault, FrameSet, Item, Sample

NAME = "Cholec80"
TASKS: tuple[str, ...] = ("presence",)
TOOLS = ("Grasper", "Bipolar", "Hook", "Scissors", "Clipper", "Irrigator", "SpecimenBag")
TABLE = ClassTable(
    tuple(
        ClassRow(id=i, name=name, colour=default_colour(i + 1), instrument=True)
        for i, name in enumerate(TOOLS)
    )
)


def recognise(root: Path) -> Recognition:
    """``tool_annotations/videoNN-tool.txt``, or ``phase_annotations`` beside ``videos``."""
    rows = list((root / "tool_annotations").glob("video*-tool.txt"))
    if rows:
        return Recognition(fits=True, why=f"{len(rows)} files tool_annotations/videoNN-tool.txt")
    if (root / "videos").is_dir() and (root / "phase_annotations").is_dir():
        return Recognition(fits=True, why="videos and phase_annotations")
    return Recognition(fits=False, why="there is no tool_annotations/videoNN-tool.txt")


def scan(root: Path, *, task: str = "presence", table: ClassTable | None = None) -> Scan:
    """Lists the annotated frames of all videos; opens each video's header."""
    faults = missing_paths(root / "videos", root / "tool_annotations")
    items: list[Item] = []
    notes: list[str] = []
    names = {p.stem for p in (root / "videos").glob("video*.mp4")}
    names |= {p.name.removesuffix("-tool.txt") for p in root.glob("tool_annotations/*-tool.txt")}
    for name in sorted(names):
        items += _items(root, name, faults, notes)
    tests = {n for n in names if int("".join(re.findall(r"\d+", n)) or 0) > 40}
    splits = splits_by_group(items, test=tests)
    frames = FrameSet(
        name=NAME,
        root=root,
        table=table or TABLE,
        items=tuple(items),
        splits=splits if len(splits) > 1 else {},
        read=read,
        notes=tuple(notes),
        task=task,
    )
    return Scan(frames=frames, faults=tuple(faults))


def read(item: Item) -> Sample:
    """Decodes one frame; there is no mask.

    Raises:
        DataError: The video cannot be read.
    """
    return Sample(name=item.name, image=read_frame(item.image, item.extra["frame"]))


def read_rows(path: Path, columns: tuple[str, ...]) -> dict[int, tuple[str, ...]]:
    """Reads an annotation file: the values of each row by frame number.

    Raises:
        DataError: The header or a row does not have the format of the set.
    """
    lines = read_bytes(path).decode("utf-8", "replace").splitlines()
    header = tuple(lines[0].split()) if lines else ()
    if header != ("Frame", *columns):
        raise DataError(
            f"{path} begins with {' '.join(header)[:80]!r}, expected Frame {' '.join(columns)}",
            remedy="download the annotation again",
        )
    rows = {}
    for number, line in enumerate(lines[1:], 2):
        words = tuple(line.split())
        if not words:
            continue
        if len(words) != len(header) or not words[0].isdigit():
            raise DataError(
                f"{path} line {number} is {line[:60]!r}, expected {len(header)} columns",
                remedy="download the annotation again",
            )
        rows[int(words[0])] = words[1:]
    return rows


def _items(root: Path, name: str, faults: list[Fault], notes: list[str]) -> list[Item]:
    video = root / "videos" / f"{name}.mp4"
    tools = root / "tool_annotations" / f"{name}-tool.txt"
    phases = root / "phase_annotations" / f"{name}-phase.txt"
    gone = missing_paths(video, tools)
    faults += gone
    if gone:
        return []
    try:
        count = video_info(video).frames
        rows = read_rows(tools, TOOLS)
        phase_of = read_rows(phases, ("Phase",)) if phases.is_file() else {}
    except DataError as error:
        faults.append(Fault(file=tools, text=error.message.removeprefix(f"{tools} ")))
        return []
    late = [frame for frame in rows if frame >= count]
    if late:
        notes.append(
            f"{name}: {len(late)} rows from frame {late[0]} on are left out, "
            f"the video has {count} frames"
        )
    bad = [f for f, row in rows.items() if set(row) - {"0", "1"}]
    if bad:
        faults.append(Fault(file=tools, text=f"frame {bad[0]} holds other values than 0 and 1"))
    return [
        Item(
            name=f"{name}/{frame:06d}",
            image=video,
            group=name,
            extra={
                "frame": frame,
                "presence": tuple(int(word == "1") for word in row),
                "phase": phase_of.get(frame, ("",))[0],
            },
        )
        for frame, row in rows.items()
        if frame < count
    ]
