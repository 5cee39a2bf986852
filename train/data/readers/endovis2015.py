"""EndoVis 2015 rigid instruments: ``OP1..OP4`` of ``Raw`` and ``Masks``.

    frames = open_frames("Segmentation_Rigid_Training/", task="parts")

Mask values are 0 (background), 160 (shaft) and 70 (manipulator); some masks are RGBA, all opaque.
As in the protocol of the challenge, each operation is a group and one fold.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import ClassTable
from trocar.contract.media.pictures import read_image
from trocar.train.data.io.images import read_raw_mask
from trocar.train.data.io.masks import check_size, grey, ids_from_values
from trocar.train.data.readers.common import misnamed_folders, table_of
from trocar.train.data.readers.scan import Recognition, Scan
from trocar.train.data.sample import Fault, FrameSet, Item, Sample

NAME = "EndoVis 2015 rigid"
TASKS: tuple[str, ...] = ("parts", "binary")
PARTS = ("shaft", "manipulator")
PARTS_TABLE = table_of(["background", *PARTS], instruments=PARTS, parts={p: p for p in PARTS})
BINARY_TABLE = ClassTable.from_names(["background", "instrument"])
_PARTS = {0: 0, 160: 1, 70: 2}
_BINARY = {0: 0, 160: 1, 70: 1}


def recognise(root: Path) -> Recognition:
    """Operations ``OPn`` with ``Raw`` and ``Masks``, here or up to two folders deeper."""
    operations = _operations(root)
    if operations:
        names = ", ".join(op.name for op in operations)
        return Recognition(fits=True, why=f"operations {names} with Raw/ and Masks/")
    return Recognition(fits=False, why="there is no folder OP1..OP4 with Raw/ and Masks/")


def scan(root: Path, *, task: str = "parts", table: ClassTable | None = None) -> Scan:
    """Lists the frames of all operations found."""
    faults: list[Fault] = []
    items: list[Item] = []
    operations = _operations(root)
    for operation in operations:
        items += _items(operation, faults)
    faults += misnamed_folders({op.parent for op in operations}, operations, "Raw", named="OPn")
    chosen = table or (BINARY_TABLE if task == "binary" else PARTS_TABLE)
    frames = FrameSet(
        name=NAME,
        root=root,
        table=chosen,
        items=tuple(items),
        splits={},
        read=functools.partial(read, codes=_BINARY if task == "binary" else _PARTS),
        task=task,
        folds=tuple((op.name,) for op in operations) if len(operations) > 1 else (),
        instances=read_instances if all("instances" in item.extra for item in items) else None,
    )
    return Scan(frames=frames, faults=tuple(faults))


def read(item: Item, *, codes: Mapping[int, int]) -> Sample:
    """Reads one frame and its class mask.

    Raises:
        DataError: A file cannot be read, or the mask has another size or other values.
    """
    image = read_image(item.image)
    if item.mask is None:
        return Sample(name=item.name, image=image)
    mask = ids_from_values(grey(read_raw_mask(item.mask), path=item.mask), codes, path=item.mask)
    check_size(image, mask, image_path=item.image, mask_path=item.mask)
    return Sample(name=item.name, image=image, mask=mask)


def read_instances(item: Item) -> NDArray[np.uint8]:
    """Instance numbers ``[H, W]`` uint8 of one frame, 20, 40, 60, 80; raises `DataError`."""
    path: Path = item.extra["instances"]
    return grey(read_raw_mask(path), path=path)


def _operations(root: Path) -> list[Path]:
    places = [root, root / "Training", root / "Segmentation_Rigid_Training" / "Training"]
    for place in places:
        if _is_operation(place):
            return [place]
        if place.is_dir():
            found = sorted(p for p in place.glob("OP*") if _is_operation(p))
            if found:
                return found
    return []


def _is_operation(folder: Path) -> bool:
    return re.fullmatch(r"OP\d+", folder.name) is not None and (
        (folder / "Raw").is_dir() or (folder / "Masks").is_dir()
    )


def _items(operation: Path, faults: list[Fault]) -> list[Item]:
    items = []
    faults += [
        Fault(file=operation / name, text="is missing")
        for name in ("Raw", "Masks")
        if not (operation / name).is_dir()
    ]
    images = sorted((operation / "Raw").glob("img_*_raw.png"))
    known = set()
    for image in images:
        stem = image.name.removesuffix("_raw.png")
        known.add(stem)
        mask = operation / "Masks" / f"{stem}_class.png"
        if not mask.is_file():
            faults.append(Fault(file=image, text=f"has no mask Masks/{mask.name}"))
            continue
        instance = operation / "Masks" / f"{stem}_instrument.png"
        items.append(
            Item(
                name=f"{operation.name}/{stem}",
                image=image,
                mask=mask,
                group=operation.name,
                extra={"instances": instance} if instance.is_file() else {},
            )
        )
    faults += [
        Fault(file=mask, text="is the mask of no image in Raw/")
        for mask in sorted((operation / "Masks").glob("img_*_class.png"))
        if mask.name.removesuffix("_class.png") not in known
    ]
    if not images:
        faults.append(Fault(file=operation / "Raw", text="there is no img_XX_raw.png in it"))
    return items
