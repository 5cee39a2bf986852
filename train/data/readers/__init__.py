"""Recognises the layout of a data set, and opens it.

frames = open_frames("cholec_instance_seg/"); print(frames.name, len(frames), frames.table.names)
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from trocar.contract.classes import ClassTable
from trocar.contract.config import unknown
from trocar.contract.errors import ConfigError, DataError
from trocar.contract.plug_ins import plug_ins
from trocar.contract.text.toml import read_toml
from trocar.train.data.combine import open_combination
from trocar.train.data.readers import (
    autolaparo,
    cholec80,
    cholecseg8k,
    cityscapes,
    class_folders,
    coco,
    dresden,
    endoscapes,
    endovis2015,
    endovis2015_robotic,
    endovis2017,
    endovis2018,
    folder,
    isinet,
    kvasir_instrument,
    labelme,
    mask_pattern,
    mmseg,
    nnunet,
    robust_mis,
    sar_rarp50,
    supervisely,
    unread,
    uw_sinus,
    voc,
    yolo,
    yolo_polygons,
)
from trocar.train.data.readers.added import PlugInReader, recognised_by_plug_ins
from trocar.train.data.readers.scan import Reader, Recognition, Scan, split_faults
from trocar.train.data.sample import FrameSet, raise_faults

# The most specific layout first: the plain folder of images fits nearly everything.
READERS: tuple[Reader, ...] = (
    endovis2015,
    endovis2015_robotic,
    endovis2017,
    endovis2018,
    isinet,
    endoscapes,
    dresden,
    cityscapes,
    supervisely,
    coco,
    cholecseg8k,
    sar_rarp50,
    yolo_polygons,
    kvasir_instrument,
    uw_sinus,
    cholec80,
    mmseg,
    autolaparo,
    labelme,
    robust_mis,
    voc,
    nnunet,
    yolo,
    class_folders,
    folder,
)
# Layouts that fit nearly every folder: another one that fits wins over them.
GENERAL: tuple[Reader, ...] = (class_folders, folder)
# Layouts that are a narrower form of others, and win over them.
NARROWER: dict[str, tuple[Reader, ...]] = {mmseg.NAME: (labelme,), yolo_polygons.NAME: (yolo,)}
LAYOUTS: dict[str, Reader] = {
    reader.__name__.rpartition(".")[2].replace("_", "-"): reader  # type: ignore[attr-defined]
    for reader in READERS
}
"""The readers by the names that ``--layout`` and ``layout`` in ``dataset.toml`` take."""


def recognise(path: str | Path, *, layout: str | None = None) -> tuple[Reader, Recognition]:
    """Recognises the layout of a folder, or takes the one that is named.

    Args:
        path: The folder.
        layout: A key of `LAYOUTS`; by default ``layout`` of the folder's ``dataset.toml``, or the
            first layout that fits.

    Raises:
        DataError: ``path`` does not exist, no layout fits, or several do; the text lists them.
        ConfigError: There is no such layout.
    """
    root = Path(path)
    if not root.exists():
        raise DataError(f"there is no {root}", remedy="check the path")
    if not root.is_dir():
        raise DataError(
            f"{root} is a file, expected the folder of a data set",
            remedy="unpack archives; extract frames of videos with `trocar data extract-frames`",
        )
    settings = root / "dataset.toml"
    source = "--layout"
    if layout is None and settings.is_file():
        written = read_toml(settings)
        layout, source = written.get("layout"), f"layout in {settings}"
        if layout is None and mask_pattern.pattern_in(written, file=settings):
            layout, source = "folder", f"masks in {settings}"
    if layout is not None:
        return _named(str(layout), source)
    arrangement = unread.find(root)
    if arrangement is not None:
        raise DataError(
            f"{root} is {arrangement.name}, which is known and not read",
            remedy=arrangement.remedy,
        )
    found = [(reader, reader.recognise(root)) for reader in READERS]
    fitting = [(reader, one) for reader, one in found if one.fits]
    covered = [other for reader, _ in fitting for other in NARROWER.get(reader.NAME, GENERAL)]
    special = [(reader, one) for reader, one in fitting if reader not in (*covered, *GENERAL)]
    broken: list[str] = []
    if not special:
        # Plug-ins win over the general layouts only: they change nothing for other sets.
        added, broken = recognised_by_plug_ins(root, own=LAYOUTS)
        found += added
        special = [(reader, one) for reader, one in added if one.fits]
        fitting = [*special, *fitting]
    if len(special) > 1:
        kinds = "".join(f"\n  {reader.NAME}: {one.why}" for reader, one in special)
        names = [name for name, reader in LAYOUTS.items() if reader in [one for one, _ in special]]
        names += [one.plug_in.name for one, _ in special if isinstance(one, PlugInReader)]
        raise DataError(
            f"{root} fits {len(special)} layouts:{kinds}",
            remedy=f'name one: --layout {" or --layout ".join(names)}, or layout = "…" in '
            "dataset.toml",
        )
    if fitting:
        return fitting[0]
    lines = [*(f"{reader.NAME}: {one.why}" for reader, one in found), *broken]
    tried = "".join(f"\n  {line}" for line in lines)
    raise DataError(
        f"{root} has no known layout; tried{tried}",
        remedy="name the top folder of the set, or convert it to images/, masks/ and classes.toml",
    )


def _named(layout: str, source: str) -> tuple[Reader, Recognition]:
    added = plug_ins("readers", own=LAYOUTS)
    if layout not in LAYOUTS and layout not in added:
        known = (*LAYOUTS, *added)
        raise ConfigError(
            f"{source}: the layout {unknown(layout, known)}",
            remedy=f"choose one of {', '.join(known)}",
        )
    reader = LAYOUTS[layout] if layout in LAYOUTS else PlugInReader(added[layout])
    return reader, Recognition(fits=True, why=f"chosen by {source}")


def scan_frames(
    path: str | Path,
    *,
    table: ClassTable | None = None,
    task: str | None = None,
    layout: str | None = None,
) -> tuple[Scan, str]:
    """Lists the frames and faults of a set; the text says which layout was recognised and why.

    Raises:
        DataError: No layout fits, or the set cannot be listed.
        ConfigError: The set has no such task, or there is no such layout.
    """
    if Path(path).is_file() and Path(path).suffix == ".toml":
        return _scan_combination(Path(path), task)
    reader, found = recognise(path, layout=layout)
    chosen = reader.TASKS[0] if task is None else task
    if chosen not in reader.TASKS and reader not in (folder, dresden):
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
    path: str | Path,
    *,
    table: ClassTable | None = None,
    task: str | None = None,
    layout: str | None = None,
) -> FrameSet:
    """Opens a data set by its layout.

    Args:
        path: The folder of the set, or the TOML file of a combination of sets.
        table: Class table, where the set has none or another one is wanted.
        task: What the masks distinguish, for sets with several tasks.
        layout: A key of `LAYOUTS`, instead of the layout that is recognised.

    Raises:
        DataError: No layout fits, or the set has faults; the text has the first ones and their
            number.
        ConfigError: The set has no such task, or there is no such layout.
    """
    scan, _ = scan_frames(path, table=table, task=task, layout=layout)
    raise_faults(Path(path), scan.faults)
    return scan.frames
