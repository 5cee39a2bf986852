"""Recognises the layout of a data set, and opens it.

frames = open_frames("cholec_instance_seg/"); print(frames.name, len(frames), frames.table.names)
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from trocar.contract.classes import ClassTable
from trocar.contract.errors import ConfigError, DataError
from trocar.train.data.combine import open_combination
from trocar.train.data.readers import (
    cholec80,
    cholecseg8k,
    class_folders,
    endovis2015,
    endovis2015_robotic,
    endovis2017,
    endovis2018,
    folder,
    kvasir_instrument,
    labelme,
    mmseg,
    nnunet,
    robust_mis,
    uw_sinus,
    voc,
    yolo,
    yolo_polygons,
)
from trocar.train.data.readers.scan import Reader, Recognition, Scan, split_faults
from trocar.train.data.sample import FrameSet, raise_faults

# The most specific layout first: the plain folder of images fits nearly everything.
READERS: tuple[Reader, ...] = (
    endovis2015,
    endovis2015_robotic,
    endovis2017,
    endovis2018,
    cholecseg8k,
    yolo_polygons,
    kvasir_instrument,
    uw_sinus,
    cholec80,
    mmseg,
    labelme,
    robust_mis,
    voc,
    nnunet,
    yolo,
    class_folders,
    folder,
)


def recognise(path: str | Path) -> tuple[Reader, Recognition]:
    """Recognises the layout of a folder.

    Raises:
        DataError: ``path`` does not exist, or no layout fits; the text lists the layouts tried.
    """
    root = Path(path)
    if not root.exists():
        raise DataError(f"there is no {root}", remedy="check the path")
    if not root.is_dir():
        raise DataError(
            f"{root} is a file, expected the folder of a data set",
            remedy="unpack archives; extract frames of videos with `trocar data extract-frames`",
        )
    tried = []
    for reader in READERS:
        found = reader.recognise(root)
        if found.fits:
            return reader, found
        tried.append(f"\n  {reader.NAME}: {found.why}")
    raise DataError(
        f"{root} has no known layout; tried" + "".join(tried),
        remedy="name the top folder of the set, or convert it to images/, masks/ and classes.toml",
    )


def scan_frames(
    path: str | Path, *, table: ClassTable | None = None, task: str | None = None
) -> tuple[Scan, str]:
    """Lists the frames and faults of a set; the text says which layout was recognised and why.

    Raises:
        DataError: No layout fits, or the set cannot be listed.
        ConfigError: The set has no such task.
    """
    if Path(path).is_file() and Path(path).suffix == ".toml":
        return _scan_combination(Path(path), task)
    reader, found = recognise(path)
    chosen = reader.TASKS[0] if task is None else task
    if chosen not in reader.TASKS and reader.NAME != folder.NAME:
        raise ConfigError(
            f"{reader.NAME} has no task {chosen!r}",
            remedy=f"choose one of {', '.join(reader.TASKS)}",
        )
    scan = reader.scan(Path(path), task=chosen, table=table)
    found_in_splits = split_faults(scan.frames.items, scan.frames.splits, root=Path(path))
    tasks = scan.tasks or tuple(name for name in reader.TASKS if name)
    scan = replace(scan, faults=(*scan.faults, *found_in_splits), tasks=tasks)
    return scan, f"{reader.NAME}: {found.why}"


def _scan_combination(path: Path, task: str | None) -> tuple[Scan, str]:
    if task is not None:
        raise ConfigError(
            f"{path} is a combination of sets, which has no tasks",
            remedy="name the task of each set in the file",
        )
    frames = open_combination(path, lambda root, wanted: open_frames(root, task=wanted))
    faults = split_faults(frames.items, frames.splits, root=path)
    return Scan(frames=frames, faults=tuple(faults)), "combination of sets by a TOML file"


def open_frames(
    path: str | Path, *, table: ClassTable | None = None, task: str | None = None
) -> FrameSet:
    """Opens a data set by its layout.

    Args:
        path: The folder of the set, or the TOML file of a combination of sets.
        table: Class table, where the set has none or another one is wanted.
        task: What the masks distinguish, for sets with several tasks.

    Raises:
        DataError: No layout fits, or the set has faults; the text has the first ones and their
            number.
        ConfigError: The set has no such task.
    """
    scan, _ = scan_frames(path, table=table, task=task)
    raise_faults(Path(path), scan.faults)
    return scan.frames
