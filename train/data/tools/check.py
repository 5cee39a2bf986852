"""Checks a whole data set and lists all its faults.

report = check_frames("our_theatre/"); print(len(report.faults), report.shares)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import IGNORE_INDEX, ClassTable
from trocar.contract.errors import TrocarError
from trocar.contract.location import notes_on_parts
from trocar.train.data.leakage import equal_pictures
from trocar.train.data.readers import scan_frames
from trocar.train.data.readers.scan import Scan
from trocar.train.data.sample import Fault, FrameSet, Item


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """The content and the faults of a data set.

    Attributes:
        name: Name of the set.
        layout: Which layout was recognised and why.
        task: What the masks distinguish.
        tasks: The tasks that the set offers; empty if there is no choice.
        folds: The validation groups of each fold of the set's protocol.
        instances: Whether the set has instance numbers.
        classes: The class table.
        frames: Number of frames that could be read.
        labelled: Number of those with a mask, a class or tool presences.
        sizes: Frames by ``(height, width)``.
        splits: Frames by split.
        groups: Frames by group.
        pixels: ``[K]`` int64 pixels by class, over all masks that could be read.
        ignored: Pixels that are ignored (255).
        counts: ``[K]`` int64 frames that show a class; for a set of tool presences, the frames
            in which the tool is present.
        notes: Remarks of the reader.
        faults: All faults, in the order of the files.
    """

    name: str
    layout: str
    task: str
    tasks: tuple[str, ...]
    folds: tuple[tuple[str, ...], ...]
    instances: bool
    classes: ClassTable
    frames: int
    labelled: int
    sizes: dict[tuple[int, int], int]
    splits: dict[str, int]
    groups: dict[str, int]
    pixels: NDArray[np.int64]
    ignored: int
    counts: NDArray[np.int64]
    notes: tuple[str, ...]
    faults: tuple[Fault, ...]

    @property
    def shares(self) -> NDArray[np.float64]:
        """``[K]`` fractions of the pixels that are not ignored; zeros if there are none."""
        total = int(self.pixels.sum())
        return self.pixels / total if total else np.zeros(len(self.pixels))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "name": self.name,
            "layout": self.layout,
            "task": self.task,
            "tasks": list(self.tasks),
            "folds": [list(fold) for fold in self.folds],
            "instances": self.instances,
            "frames": self.frames,
            "labelled": self.labelled,
            "sizes": {f"{w}x{h}": n for (h, w), n in self.sizes.items()},
            "splits": self.splits,
            "groups": self.groups,
            "classes": [
                {
                    **row,
                    "pixels": int(self.pixels[i]),
                    "share": float(self.shares[i]),
                    "frames": int(self.counts[i]),
                }
                for i, row in enumerate(self.classes.to_dicts())
            ],
            "ignored_pixels": self.ignored,
            "notes": list(self.notes),
            "faults": [
                {"file": str(f.file), "text": f.text, "remedy": f.remedy} for f in self.faults
            ],
        }


@dataclass(frozen=True)
class _FrameCheck:
    size: tuple[int, int] | None = None
    labelled: bool = False
    histogram: NDArray[np.int64] | None = None
    fault: Fault | None = None


def check_frames(
    path: str | Path,
    *,
    table: ClassTable | None = None,
    task: str | None = None,
    layout: str | None = None,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> CheckReport:
    """Reads every frame of a set, and continues after a fault.

    Args:
        path: The folder of the set.
        table: Class table, for sets that have none.
        task: What the masks distinguish, for sets with several tasks.
        layout: A key of `LAYOUTS`, instead of the layout that is recognised.
        workers: Threads that decode.
        progress: Called with the number of frames done and the total.

    Raises:
        DataError: No layout fits, or there is no class table, so nothing can be checked.
        ConfigError: The set has no such task, or there is no such layout.
    """
    scan, recognised = scan_frames(path, table=table, task=task, layout=layout)
    frames = scan.frames
    seen: list[_FrameCheck] = []
    with ThreadPoolExecutor(max_workers=max(workers, 1)) as pool:
        for one in pool.map(lambda item: _check_frame(frames, item), frames.items):
            seen.append(one)
            if progress:
                progress(len(seen), len(frames))
    return _report(scan, recognised, seen)


def _check_frame(frames: FrameSet, item: Item) -> _FrameCheck:
    try:
        sample = frames.read(item)
    except TrocarError as error:
        return _FrameCheck(fault=_fault(item, error))
    size = (sample.image.shape[0], sample.image.shape[1])
    if sample.mask is None:
        return _FrameCheck(size=size, labelled="presence" in item.extra)
    if sample.mask.shape != size:
        text = (
            f"its mask is {sample.mask.shape[1]}x{sample.mask.shape[0]}, it is {size[1]}x{size[0]}"
        )
        return _FrameCheck(size=size, fault=Fault(file=item.image, text=text))
    try:
        frames.instance_map(item, size)
    except TrocarError as error:
        return _FrameCheck(size=size, fault=_fault(item, error))
    histogram = np.bincount(sample.mask.ravel(), minlength=256).astype(np.int64)
    return _FrameCheck(size=size, labelled=True, histogram=histogram)


def _fault(item: Item, error: TrocarError) -> Fault:
    # Messages of readers begin with the file, which the fault names already.
    for file in (item.mask, item.image, item.extra.get("annotation")):
        if file is not None and error.message.startswith(f"{file} "):
            text = error.message.removeprefix(f"{file} ")
            return Fault(file=Path(file), text=text, remedy=error.remedy)
    return Fault(file=item.image, text=error.message, remedy=error.remedy)


def _report(scan: Scan, layout: str, seen: list[_FrameCheck]) -> CheckReport:
    frames = scan.frames
    equal, repeated = equal_pictures(frames)
    notes = frames.notes
    if repeated:
        text = f"{repeated} pictures are equal, byte for byte, to another one under another name"
        notes = (*notes, text)
    notes = (*notes, *notes_on_parts(frames.table))
    count = len(frames.table)
    histograms = [one.histogram for one in seen if one.histogram is not None]
    total, within = np.zeros(256, np.int64), np.zeros(count, np.int64)
    for histogram in histograms:
        total += histogram
        within += histogram[:count] > 0
    for item in frames.items:
        within += np.asarray(item.extra.get("presence", np.zeros(count)), np.int64)
    good = [one for one in seen if one.fault is None]
    return CheckReport(
        name=frames.name,
        layout=layout,
        task=frames.task,
        tasks=scan.tasks,
        folds=frames.folds,
        instances=frames.instances is not None,
        classes=frames.table,
        frames=len(good),
        labelled=sum(one.labelled for one in good),
        sizes=dict(Counter(one.size for one in good if one.size).most_common()),
        splits={split: len(names) for split, names in frames.splits.items()},
        groups=dict(Counter(item.group for item in frames.items if item.group)),
        pixels=total[:count],
        ignored=int(total[IGNORE_INDEX]),
        counts=within,
        notes=notes,
        faults=(
            *scan.faults,
            *_class_faults(frames, seen, total),
            *equal,
            *(one.fault for one in seen if one.fault is not None),
        ),
    )


def _class_faults(
    frames: FrameSet, seen: list[_FrameCheck], total: NDArray[np.int64]
) -> list[Fault]:
    """Faults of what the masks show: only ignored pixels, or a validation split without classes."""
    faults: list[Fault] = []
    count = len(frames.table)
    shows = {
        item.name: bool(one.histogram[1:count].any())
        for item, one in zip(frames.items, seen, strict=True)
        if one.histogram is not None
    }
    if count < 2 or not shows:
        return faults
    unseen = [row.name for row in frames.table if row.id and not total[row.id]]
    ignored = int(total[IGNORE_INDEX])
    if ignored and len(unseen) == count - 1:
        text = (
            f"no pixel is of {', '.join(unseen[:4])}, and {ignored} pixels are 255, which is read "
            "as ignored; where 255 means a class, map it in dataset.toml: [values] "
            f'255 = "{unseen[0]}"'
        )
        faults.append(Fault(file=frames.root, text=text))
    elif any(shows.values()):
        labelled = [name for name in frames.splits.get("val", ()) if name in shows]
        if labelled and not any(shows[name] for name in labelled):
            text = (
                f"none of the {len(labelled)} frames of split 'val' shows a class of the table: "
                "every score on them is 0 or undefined; put frames with instruments into it"
            )
            faults.append(Fault(file=frames.root, text=text))
    return faults
