"""Dresden Surgical Anatomy Dataset: ``ORGAN/NN/imageMM.png`` and ``ORGAN/NN/maskMM.png``.

    frames = open_frames("DSAD/", task="colon").subset("val")

Each folder of an organ is a set of its own: its masks show that organ alone, so the organ is the
task. The folder ``multilabel`` is not read. NN is the operation. The splits are those of Kolbinger
et al. 2023.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path

from trocar.contract.classes import ClassTable
from trocar.contract.errors import ConfigError
from trocar.train.data.readers.common import folders, images_by_stem, read_coded
from trocar.train.data.readers.scan import Recognition, Scan, splits_by_group
from trocar.train.data.sample import Fault, FrameSet, Item

NAME = "Dresden Surgical Anatomy Dataset"
ORGANS = (
    "abdominal_wall", "colon", "inferior_mesenteric_artery", "intestinal_veins", "liver",
    "pancreas", "small_intestine", "spleen", "stomach", "ureter", "vesicular_glands",
)  # fmt: skip
TASKS: tuple[str, ...] = ("",)  # The organs that are there; see `scan`.
VALIDATION = ("03", "21", "26")
TEST = ("02", "07", "11", "13", "14", "18", "20", "32")


def recognise(root: Path) -> Recognition:
    """Folders of organs, or the folder of one organ, with ``NN/imageMM.png``."""
    found = [folder.name for folder in _organs(root)]
    if found:
        return Recognition(fits=True, why=f"there are image and mask files of {', '.join(found)}")
    return Recognition(fits=False, why="there is no ORGAN/NN/image00.png")


def scan(root: Path, *, task: str = "", table: ClassTable | None = None) -> Scan:
    """Lists the frames of one organ.

    Raises:
        ConfigError: Several organs are there and none is named, or another one is named.
    """
    found = {folder.name: folder for folder in _organs(root)}
    if not task and len(found) == 1:
        task = next(iter(found))
    if task and task not in found:
        raise ConfigError(
            f"{root} has no task {task!r}", remedy=f"choose one of {', '.join(found)}"
        )
    if not task:
        raise ConfigError(
            f"{root} holds {len(found)} organs, each with masks of its own",
            remedy=f"choose one with --task: {', '.join(found)}",
        )
    faults: list[Fault] = []
    items = [item for place in folders(found[task], r"\d+") for item in _items(place, faults)]
    splits = splits_by_group(items, val=VALIDATION, test=TEST)
    frames = FrameSet(
        name=f"{NAME}, {task}",
        root=root,
        table=table or ClassTable.from_names(["background", task.replace("_", " ")]),
        items=tuple(items),
        splits=splits if "train" in splits and "val" in splits else {},
        read=functools.partial(read_coded, codes={0: 0, 255: 1}, nearest=True),
        task=task,
    )
    return Scan(frames=frames, faults=tuple(faults), tasks=tuple(found))


def has_frames(place: Path) -> bool:
    """Whether a folder has operations with frames: ``NN/imageMM.png``."""
    stems = (stem for folder in folders(place, r"\d+") for stem in images_by_stem(folder))
    return any(re.fullmatch(r"image\d+", stem) for stem in stems)


def _organs(root: Path) -> list[Path]:
    places = [root, *(root / organ for organ in ORGANS)]
    return [place for place in places if place.name != "multilabel" and has_frames(place)]


def _items(folder: Path, faults: list[Fault]) -> list[Item]:
    stems = images_by_stem(folder)
    items = []
    for stem, image in stems.items():
        match = re.fullmatch(r"(image|mask)(\d+)", stem)
        partner = match and stems.get(("mask" if match[1] == "image" else "image") + match[2])
        if match is None:
            faults.append(Fault(file=image, text="is named neither imageNN nor maskNN"))
        if match and partner is None:
            other = "mask" if match[1] == "image" else "image"
            faults.append(Fault(file=image, text=f"has no {other}{match[2]}.png beside it"))
        elif match and match[1] == "image":
            name = f"{folder.name}/{stem}"
            items.append(Item(name=name, image=image, mask=partner, group=folder.name))
    return items
