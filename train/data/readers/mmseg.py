"""MMSegmentation: ``img_dir/{train,val,test}``, ``ann_dir/{train,val,test}``, masks of class ids.

    frames = open_frames("theatre_mmseg/")

MMSegmentation keeps class names in its configuration, so a ``classes.toml`` has to lie beside the
two folders. ``Video`` sub-folders of a split are groups. MMSegmentation's ``reduce_zero_label`` is
not applied: masks hold the ids of the table, 255 is ignored.
"""

from __future__ import annotations

import functools
from pathlib import Path

from trocar.contract.classes import ClassTable
from trocar.contract.errors import DataError
from trocar.contract.media.pictures import read_image
from trocar.train.data.io.images import read_raw_mask
from trocar.train.data.io.masks import check_size, ids_from_table
from trocar.train.data.readers.common import folders, missing_paths, pairs_by_stem
from trocar.train.data.readers.scan import Recognition, Scan
from trocar.train.data.sample import SPLITS, Fault, FrameSet, Item, Sample

NAME = "MMSegmentation"
TASKS: tuple[str, ...] = ("type",)
_ENDINGS = ("_labelTrainIds", "_labelIds", "_gt", "_mask", "_seg")


def recognise(root: Path) -> Recognition:
    """``img_dir`` and ``ann_dir`` with pictures as masks; CholecInstanceSeg has JSON there."""
    masks = root / "ann_dir"
    if not masks.is_dir():
        return Recognition(fits=False, why="there is no ann_dir/")
    if next(masks.rglob("*.png"), None) is None:
        return Recognition(fits=False, why="ann_dir/ holds no PNG masks")
    return Recognition(fits=True, why="there is ann_dir with PNG masks")


def scan(root: Path, *, task: str = "type", table: ClassTable | None = None) -> Scan:
    """Lists the pictures of all splits."""
    faults: list[Fault] = []
    if table is None:
        faults += missing_paths(root / "classes.toml")
        try:
            table = ClassTable.read(root / "classes.toml")
        except DataError as error:
            if not faults:
                faults.append(Fault(file=root / "classes.toml", text=error.message))
            table = ClassTable.from_names(["background"])
    items: list[Item] = []
    splits: dict[str, tuple[str, ...]] = {}
    for split in SPLITS:
        images, masks = root / "img_dir" / split, root / "ann_dir" / split
        if images.is_dir():
            pairs = pairs_by_stem(images, masks, faults, prefix=f"{split}/", endings=_ENDINGS)
            items += pairs
            splits[split] = tuple(item.name for item in pairs)
    faults += missing_paths(root / "img_dir")
    faults += [
        Fault(file=folder, text=f"is no split; folders are named {', '.join(SPLITS)}")
        for part in ("img_dir", "ann_dir")
        for folder in folders(root / part, ".*")
        if folder.name not in SPLITS
    ]
    frames = FrameSet(
        name=root.name,
        root=root,
        table=table,
        items=tuple(items),
        splits=splits,
        read=functools.partial(read, table=table),
        task=task,
    )
    return Scan(frames=frames, faults=tuple(faults))


def read(item: Item, *, table: ClassTable) -> Sample:
    """Reads one frame and its mask.

    Raises:
        DataError: A file cannot be read, or a value is not in the class table.
    """
    image = read_image(item.image)
    assert item.mask is not None  # Pictures without a mask are faults.
    mask = ids_from_table(read_raw_mask(item.mask), table, path=item.mask)
    check_size(image, mask, image_path=item.image, mask_path=item.mask)
    return Sample(name=item.name, image=image, mask=mask)
