"""Image-and-mask folders: the layout for your own frames.

    root/images/*.png  root/masks/*.png  root/classes.toml  [root/splits/{train,val,test}.txt]
    scan = folder.scan(Path("root"), task="", table=None)

An image and its mask have the same stem. Sub-folders are allowed; the first one is the group.
``dataset.toml`` can give a name, a regular expression whose first group is the group of a frame,
and a map of mask values, where 0 is the background unless another value is:

    name = "our theatre"
    group = "^(case[0-9]+)_"
    nearest = true      # for masks saved as JPEG or smoothed: a value counts as the nearest one
    [values]
    38 = "grasper"

``masks = "{stem}_mask.png"`` in ``dataset.toml`` names the masks by a pattern, see
`trocar.train.data.readers.mask_pattern`; ``images = "frames"`` names the folder of the pictures.
``instances/`` beside ``masks/`` can give instance numbers: grey values, 0 for none, same stems.
``lasting_instances = true`` says that a number is the same instrument in all frames of a group.
The masks of another task ``T`` are in ``masks_T/`` or ``T/``, with ``classes_T.toml``. A folder of
images alone is an unlabelled set.

Splits can also be folders: ``images/train``, ``images/val``, ``masks/train`` …; ``valid`` and
``validation`` mean ``val``. Lists in ``splits/``, or beside ``images/``, win over them.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import IGNORE_INDEX, ClassTable
from trocar.contract.errors import DataError
from trocar.contract.media.pictures import is_hidden, list_images, read_image
from trocar.contract.text.toml import read_toml
from trocar.train.data.io.images import RawMask, read_raw_mask
from trocar.train.data.io.masks import (
    as_single_channel,
    check_size,
    grey,
    ids_from_nearest,
    ids_from_table,
    ids_from_values,
    opaque,
)
from trocar.train.data.readers import mask_pattern
from trocar.train.data.readers.scan import Recognition, Scan
from trocar.train.data.sample import SPLITS, Fault, FrameSet, Item, Sample

NAME = "image-and-mask folder"
TASKS: tuple[str, ...] = ("",)
_MASK_FOLDER = re.compile(
    r"(?i)(masks?|labels?|annot\w*|gts?|ground_?truth|seg(mentation)?(class|s|_?masks?)?)$"
)
_SPLIT_FOLDERS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
UNLABELLED_TABLE = ClassTable.from_names(["background"])


@dataclass(frozen=True, kw_only=True)
class Codes:
    """How to decode the masks of a folder.

    Attributes:
        table: The class table.
        values: Class id by grey value, as ``dataset.toml`` maps them; ``None``: values are ids.
        nearest: Whether a grey value that is not mapped is taken as the nearest one that is.
    """

    table: ClassTable
    values: Mapping[int, int] | None = None
    nearest: bool = False

    def decode(self, raw: RawMask, path: Path) -> NDArray[np.uint8]:
        """Class ids ``[H, W]`` uint8 of a raw mask; raises `DataError`."""
        if self.values is None:
            return ids_from_table(raw, self.table, path=path)
        if self.nearest:
            return ids_from_nearest(raw, self.values, path=path)
        single = as_single_channel(opaque(raw.values, path=path))
        if single is None:
            return ids_from_table(raw, self.table, path=path)
        return ids_from_values(single, self.values, path=path)


def recognise(root: Path) -> Recognition:
    """An ``images/`` folder, or images without any other layout."""
    file = root / "dataset.toml"
    if file.is_file() and mask_pattern.pattern_in(read_toml(file), file=file) is not None:
        return Recognition(fits=True, why="dataset.toml names the masks by a pattern")
    if (root / "images").is_dir():
        beside = [n for n in ("masks", "classes.toml", "splits") if (root / n).exists()]
        with_what = f" with {', '.join(beside)}" if beside else ", no masks: unlabelled"
        return Recognition(fits=True, why=f"there is a folder images/{with_what}")
    if not root.is_dir():
        return Recognition(fits=False, why="it is not a folder")
    if (root / "masks").is_dir() and (root / "classes.toml").is_file():
        return Recognition(fits=True, why="there are masks/ and classes.toml")
    here = [f for f in list_images(root) if f.parent == root]
    if here:
        return Recognition(fits=True, why=f"{len(here)} images and no masks: unlabelled")
    return Recognition(fits=False, why="there is no folder images/ and no image in it")


def scan(root: Path, *, task: str = "", table: ClassTable | None = None) -> Scan:
    """Lists the frames of a folder and its faults.

    Raises:
        DataError: There are masks, but no usable class table.
    """
    suffix = f"_{task}" if task else ""
    masks = root / f"masks{suffix}"
    settings = read_toml(root / "dataset.toml") if (root / "dataset.toml").is_file() else {}
    pattern = mask_pattern.pattern_in(settings, file=root / "dataset.toml")
    apart = (root / "images").is_dir() or (masks.is_dir() and pattern is None)
    images = _images(root, settings) or (root / "images" if apart else root)
    if task and not masks.is_dir() and (root / f"classes{suffix}.toml").is_file():
        masks = root / task
    codes = _codes(root, suffix, masks, table, settings)
    faults: list[Fault] = []
    if apart and not images.is_dir():
        faults.append(Fault(file=images, text="is missing"))
    if pattern is not None:
        found = mask_pattern.pairs(pattern, images, root, faults)
    else:
        faults += _renamed_masks(root, masks)
        found = _pairs(images, masks if masks.is_dir() else None, faults)
    groups = _pattern(root, settings)
    items = [
        Item(name=name, image=image, mask=found[1].get(name), group=_group(name, groups))
        for name, image in found[0].items()
    ]
    splits = _splits(root, {item.name for item in items}) or _splits_by_folder(items)
    items = [_without_split_group(item) for item in items] if _splits_by_folder(items) else items
    if not items and not faults:
        faults.append(Fault(file=images, text="there is no image in it"))
    frames = FrameSet(
        name=str(settings.get("name", root.name)),
        root=root,
        table=codes.table,
        items=tuple(items),
        splits=splits,
        read=functools.partial(read, codes=codes),
        task=task,
        instances=_instances(root, items, faults),
        lasting_instances=_flag(root, settings, "lasting_instances", "numbers last over a film"),
    )
    return Scan(frames=frames, faults=tuple(faults), tasks=_tasks(root))


def read(item: Item, *, codes: Codes) -> Sample:
    """Reads one frame and its mask.

    Raises:
        DataError: A file cannot be read, or the mask does not fit its image or the class table.
    """
    image = read_image(item.image)
    if item.mask is None:
        return Sample(name=item.name, image=image)
    mask = codes.decode(read_raw_mask(item.mask), item.mask)
    check_size(image, mask, image_path=item.image, mask_path=item.mask)
    return Sample(name=item.name, image=image, mask=mask)


def _pairs(
    images: Path, masks: Path | None, faults: list[Fault]
) -> tuple[dict[str, Path], dict[str, Path]]:
    """Pictures and masks by name; what has no partner is a fault."""
    mask_of = _by_stem(masks, faults) if masks else {}
    image_of = _by_stem(images, faults)
    faults += [
        Fault(file=image, text=f"has no mask {masks.name}/{name}.png")
        for name, image in image_of.items()
        if masks and name not in mask_of
    ]
    faults += [
        Fault(file=mask, text=f"is the mask of no image in {images.name}/")
        for name, mask in mask_of.items()
        if name not in image_of
    ]
    return {n: f for n, f in image_of.items() if not masks or n in mask_of}, mask_of


def _images(root: Path, settings: Mapping[str, Any]) -> Path | None:
    """The folder that ``images`` of ``dataset.toml`` names."""
    if "images" not in settings:
        return None
    name = settings["images"]
    folder = root / name if isinstance(name, str) else root
    inside = folder.resolve().is_relative_to(root.resolve())
    if not isinstance(name, str) or not folder.is_dir() or not inside:
        raise DataError(
            f"{root / 'dataset.toml'}: images is {name!r}, expected a folder of the set",
            remedy='write images = "frames", or images = "." for the folder of the set',
        )
    return folder


def _renamed_masks(root: Path, masks: Path) -> list[Fault]:
    """A fault for a folder that could be the masks, if a labelled set has no mask folder."""
    if masks.is_dir():
        return []
    with_table = (root / "classes.toml").is_file()
    return [
        Fault(file=folder, text=f"may hold the masks; rename it to {masks.name}/")
        for folder in sorted(root.iterdir())
        if folder.is_dir()
        and folder.name != "images"
        and (_MASK_FOLDER.match(folder.name) or (with_table and _pairs_with_images(root, folder)))
    ]


def _pairs_with_images(root: Path, folder: Path) -> bool:
    """Whether a folder holds a picture of the same stem as one in ``images/``."""
    stems = {file.stem for file in list_images(root / "images")}
    return any(file.stem in stems for file in list_images(folder))


def _instances(
    root: Path, items: Sequence[Item], faults: list[Fault]
) -> Callable[[Item], NDArray[np.uint8]] | None:
    folder = root / "instances"
    maps = _by_stem(folder, faults) if folder.is_dir() else {}
    masked = [item for item in items if item.mask is not None]
    if not maps or not masked:
        return None
    faults += [
        Fault(file=item.image, text=f"has no instance map instances/{item.name}.png")
        for item in masked
        if item.name not in maps
    ]
    return functools.partial(_read_instances, maps=maps)


def _read_instances(item: Item, *, maps: Mapping[str, Path]) -> NDArray[np.uint8]:
    path = maps[item.name]
    return grey(read_raw_mask(path), path=path)


def _by_stem(folder: Path, faults: list[Fault]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for file in list_images(folder):
        name = file.relative_to(folder).with_suffix("").as_posix()
        other = found.setdefault(name, file)
        if other != file:
            faults.append(Fault(file=file, text=f"has the same name as {other.name}"))
    return found


def _pattern(root: Path, settings: Mapping[str, Any]) -> re.Pattern[str] | None:
    text = settings.get("group")
    if text is None:
        return None
    try:
        pattern = re.compile(str(text))
    except re.error as error:
        raise DataError(
            f"{root / 'dataset.toml'}: group is not a regular expression: {error}",
            remedy="correct it, or remove it",
        ) from error
    if pattern.groups < 1:
        raise DataError(
            f"{root / 'dataset.toml'}: group {text!r} has no parentheses",
            remedy='write parentheses around the part that is the group: "^(case[0-9]+)_"',
        )
    return pattern


def _group(name: str, pattern: re.Pattern[str] | None) -> str:
    if pattern is not None:
        match = pattern.search(name)
        return (match.group(1) or "") if match else ""
    first, slash, _ = name.partition("/")
    return first if slash else ""


def _splits(root: Path, names: set[str]) -> dict[str, tuple[str, ...]]:
    splits = {}
    for split in SPLITS:
        places = (root / "splits" / f"{split}.txt", root / f"{split}.txt")
        file = next((place for place in places if place.is_file()), None)
        if file is not None:
            try:
                lines = file.read_text(encoding="utf-8-sig").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise DataError(
                    f"cannot read {file}: {error}", remedy="save it as a UTF-8 text file"
                ) from error
            listed = [line.strip() for line in lines]
            splits[split] = tuple(
                _without_suffix(line, names) for line in listed if line and line[0] != "#"
            )
    return splits


def _splits_by_folder(items: Sequence[Item]) -> dict[str, tuple[str, ...]]:
    """Splits by the first folder of each name, where every one of them is the name of a split."""
    splits: dict[str, list[str]] = {}
    for item in items:
        first, slash, _ = item.name.partition("/")
        split = _SPLIT_FOLDERS.get(first.lower()) if slash else None
        if split is None:
            return {}
        splits.setdefault(split, []).append(item.name)
    return {split: tuple(names) for split, names in splits.items()}


def _without_split_group(item: Item) -> Item:
    """The item with the next folder of its name as its group, for the first one is a split."""
    first = item.name.partition("/")[0]
    if item.group != first:  # A pattern of dataset.toml gave it.
        return item
    rest = item.name.partition("/")[2]
    group, slash, _ = rest.partition("/")
    return replace(item, group=group if slash else "")


def _without_suffix(line: str, names: set[str]) -> str:
    if line in names:
        return line
    short = Path(line).with_suffix("").as_posix().removeprefix("images/")
    return short if short in names else line


def _codes(
    root: Path,
    suffix: str,
    masks: Path,
    table: ClassTable | None,
    settings: Mapping[str, Any],
) -> Codes:
    file = root / f"classes{suffix}.toml"
    if suffix and not masks.is_dir():
        there = _tasks(root)
        raise DataError(
            f"{root} has no task {suffix[1:]!r}: there is no folder {masks.name}/",
            remedy=f"choose one of {', '.join(there)}" if there else "leave --task out",
        )
    if table is None and file.is_file():
        table = ClassTable.read(file)
    if table is None and (masks.is_dir() or "{" in str(settings.get("masks"))):
        raise DataError(
            f"{root} has masks but no class table {file.name}",
            remedy=f"write {file.name}: one block per class, "
            '[[classes]] id = 0 name = "background"',
        )
    table = table or UNLABELLED_TABLE
    values = settings.get("values")
    codes = None if values is None else _values(root, values, table)
    nearest = _flag(root, settings, "nearest", "masks hold values near those of [values]")
    if nearest and codes is None:
        remedy = f'write the value of each class, e.g. [values] 255 = "{table.names[-1]}"'
        raise DataError(f"{root / 'dataset.toml'}: nearest = true needs [values]", remedy=remedy)
    return Codes(table=table, values=codes, nearest=nearest)


def _flag(root: Path, settings: Mapping[str, Any], name: str, when: str) -> bool:
    value = settings.get(name, False)
    if not isinstance(value, bool):
        raise DataError(
            f"{root / 'dataset.toml'}: {name} is {value!r}, expected true or false",
            remedy=f"write {name} = true where {when}",
        )
    return value


def _tasks(root: Path) -> tuple[str, ...]:
    tables = sorted(p for p in root.glob("classes_*.toml") if not is_hidden(Path(p.name)))
    return tuple(p.stem.removeprefix("classes_") for p in tables)


def _values(root: Path, values: Mapping[str, Any], table: ClassTable) -> dict[int, int]:
    codes = {IGNORE_INDEX: IGNORE_INDEX}
    faults = []
    for value, name in values.items():
        if not str(value).isdigit() or int(value) > 255:
            faults.append(f"{value!r} is no mask value 0..255")
        elif name == "ignore":
            codes[int(value)] = IGNORE_INDEX
        elif name not in table.names:
            faults.append(f"{name!r} is no class; classes are {', '.join(table.names)}")
        else:
            codes[int(value)] = table[str(name)].id
    if 0 not in codes.values():
        codes.setdefault(0, 0)
    if faults:
        raise DataError(
            f"{root / 'dataset.toml'} [values]: {'; '.join(faults)}",
            remedy='write lines such as 38 = "grasper" or 40 = "ignore"',
        )
    return codes
