"""Helpers of the readers: folders by pattern, images by stem, class tables, faults.

table = table_of(["background", "shaft"], instruments=["shaft"])
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from trocar.contract.classes import ClassRow, ClassTable, default_colour
from trocar.contract.errors import DataError
from trocar.contract.location import DEFAULT_TYPE
from trocar.contract.media.pictures import (
    IMAGE_SUFFIXES,
    is_hidden,
    list_images,
    read_bytes,
    read_image,
)
from trocar.train.data.io.images import read_raw_mask
from trocar.train.data.io.masks import check_size, grey, ids_from_nearest, ids_from_values
from trocar.train.data.sample import Fault, Item, Sample

BINARY_TABLE = ClassTable.from_names(["background", "instrument"])


def table_of(
    names: Iterable[str],
    *,
    instruments: Iterable[str],
    colours: Mapping[str, tuple[int, int, int]] | None = None,
    parts: Mapping[str, str] | bool = False,
) -> ClassTable:
    """A class table from names in order of their ids, with the colours given.

    Args:
        names: In order of their ids.
        instruments: Names that are located.
        colours: RGB by name; others get a colour of the palette.
        parts: Part by name, of the names that are parts; ``True`` if each name is a part. All
            parts have one type, so that touching parts are one instrument; every other instrument
            has its name as type.
    """
    chosen, given = set(instruments), colours or {}
    part_of = dict(parts) if isinstance(parts, Mapping) else {n: n for n in chosen if parts}
    return ClassTable(
        tuple(
            ClassRow(
                id=i,
                name=name,
                colour=given.get(name, default_colour(i)),
                instrument=name in chosen,
                part=part_of.get(name, ""),
                type=DEFAULT_TYPE if name in part_of else name if name in chosen else "",
            )
            for i, name in enumerate(names)
        )
    )


def folders(root: Path, pattern: str) -> list[Path]:
    """Sub-folders whose whole name matches, sorted by the numbers in their names."""
    if not root.is_dir():
        return []
    found = [p for p in root.iterdir() if p.is_dir() and re.fullmatch(pattern, p.name)]
    return sorted((p for p in found if not is_hidden(Path(p.name))), key=numeric_key)


def numeric_key(path: Path) -> tuple[tuple[int, ...], str]:
    """Sorts ``seq_10`` after ``seq_9``."""
    return tuple(int(n) for n in re.findall(r"\d+", path.name)), path.name


def images_by_stem(folder: Path) -> dict[str, Path]:
    """Images of one folder by stem, in order; empty if the folder is missing."""
    if not folder.is_dir():
        return {}
    found = [
        p
        for p in folder.iterdir()
        if p.suffix.lower() in IMAGE_SUFFIXES and not is_hidden(Path(p.name))
    ]
    return {p.stem: p for p in sorted(found, key=numeric_key)}


def missing_paths(*paths: Path) -> list[Fault]:
    """A fault for each folder or file that does not exist."""
    return [Fault(file=path, text="is missing") for path in paths if not path.exists()]


def misnamed_folders(
    places: Iterable[Path], known: Iterable[Path], part: str, *, named: str
) -> list[Fault]:
    """A fault for each folder that has the content of a set's folder but another name.

    Args:
        places: Folders whose sub-folders are looked at.
        known: Folders with a correct name.
        part: Pattern of their content, e.g. ``left_frames``.
        named: The correct names, in words.
    """
    found = {path.parent for place in set(places) for path in place.glob(f"*/{part}")}
    return [
        Fault(file=folder, text=f"holds {part}, but is not named {named}")
        for folder in sorted(found - set(known))
        if not is_hidden(Path(folder.name))
    ]


def pairs_by_stem(
    images: Path,
    masks: Path,
    faults: list[Fault],
    *,
    prefix: str = "",
    endings: Iterable[str] = (),
) -> list[Item]:
    """Pictures with the masks of equal stems, sub-folders included; what has no partner is a fault.

    Args:
        images: Folder of pictures.
        masks: Folder of masks.
        faults: Faults are added here.
        prefix: Put before each item's name, so that names stay unique over several folders.
        endings: What mask stems may have beyond the picture's, e.g. ``_mask``.
    """
    faults += missing_paths(images, masks)
    mask_of = _by_relative_stem(masks, tuple(endings))
    image_of = _by_relative_stem(images, ())
    items = []
    for stem, image in image_of.items():
        if stem not in mask_of:
            if masks.is_dir():
                faults.append(Fault(file=image, text=f"has no mask {masks.name}/{stem}.png"))
            continue
        group, slash, _ = stem.rpartition("/")
        items.append(
            Item(
                name=f"{prefix}{stem}",
                image=image,
                mask=mask_of[stem],
                group=f"{prefix}{group}" if slash else "",
            )
        )
    faults += [
        Fault(file=mask, text=f"is the mask of no picture in {images.name}/")
        for stem, mask in mask_of.items()
        if stem not in image_of and images.is_dir()
    ]
    return items


def read_coded(item: Item, *, codes: Mapping[int, int], nearest: bool = False) -> Sample:
    """Reads a frame and its grey mask.

    Args:
        item: The frame; its mask file exists.
        codes: Class id (or 255) by grey value.
        nearest: Whether another value counts as the nearest coded one.

    Raises:
        DataError: A file cannot be read, the mask has another size, is coloured, or holds a value
            that is not coded.
    """
    image = read_image(item.image)
    assert item.mask is not None
    raw = read_raw_mask(item.mask)
    if nearest:
        mask = ids_from_nearest(raw, codes, path=item.mask)
    else:
        mask = ids_from_values(grey(raw, path=item.mask), codes, path=item.mask)
    check_size(image, mask, image_path=item.image, mask_path=item.mask)
    return Sample(name=item.name, image=image, mask=mask)


def class_table_beside(root: Path, given: ClassTable | None, faults: list[Fault]) -> ClassTable:
    """The class table that is given, or that of ``classes.toml``; else a fault and background."""
    if given is not None:
        return given
    file = root / "classes.toml"
    try:
        return ClassTable.read(file)
    except DataError as error:
        missing = "is missing: one block per class, [[classes]] id = 0 name = ..."
        faults.append(Fault(file=file, text=error.message if file.is_file() else missing))
        return ClassTable.from_names(["background"])


def table_from_names(names: Iterable[str], *, file: Path) -> ClassTable:
    """A class table of names that a file gives.

    Raises:
        DataError: A name is empty, unprintable or repeated; the text names the file.
    """
    try:
        return ClassTable.from_names(names)
    except DataError as error:
        raise DataError(f"{file}: {error.message}", remedy="correct the names") from error


def read_text(path: Path) -> str:
    """A UTF-8 text file, with or without byte order mark.

    Raises:
        DataError: It cannot be read, is empty, or is no UTF-8.
    """
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no UTF-8 text: {error}", remedy="save it as UTF-8") from error


def _by_relative_stem(folder: Path, endings: tuple[str, ...]) -> dict[str, Path]:
    stems: dict[str, Path] = {}
    for file in list_images(folder) if folder.is_dir() else []:
        stem = file.relative_to(folder).with_suffix("").as_posix()
        ending = next((e for e in endings if stem.endswith(e)), "")
        stems[stem.removesuffix(ending)] = file
    return stems
