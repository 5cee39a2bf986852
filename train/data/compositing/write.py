"""Writes a data set of composites: instruments cloned into other frames.

write_composites(backgrounds, foregrounds, Path("composites"), table=table, count=500)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import tomli_w

from trocar.contract.bundle import check_output, replaced_folder
from trocar.contract.classes import IGNORE_INDEX, ClassTable
from trocar.contract.errors import ConfigError, DataError
from trocar.contract.media.pictures import IMAGE_SUFFIXES, read_image, write_picture
from trocar.train.data.compositing.foregrounds import Foreground, foregrounds_from_frames
from trocar.train.data.compositing.matting import foreground_from_chroma, foregrounds_from_boxes
from trocar.train.data.compositing.poisson import Composite, PlacementConfig
from trocar.train.data.io.images import read_raw_mask
from trocar.train.data.readers import open_frames
from trocar.train.data.sample import FrameSet

# All indices of a set of boxes become the class that the user names.
_ANY_INDEX = range(1000)


def read_foregrounds(
    source: Path, *, table: ClassTable | None, class_name: str = "", max_images: int = 50
) -> tuple[list[Foreground], ClassTable]:
    """Reads instruments from a source of any kind.

    Args:
        source: A green-screen image (optionally with a mask ``<stem>_seg.png`` beside it), a folder
            of ``images`` and YOLO ``labels``, or a labelled data set.
        table: Class table of the composites; default: that of the labelled set, or a table of
            ``class_name`` alone.
        class_name: Class of the instruments of green-screen images and boxes.
        max_images: Approximate number of images to read.

    Returns:
        The foregrounds with ids of the table, and the table.

    Raises:
        DataError: No instrument was found, or a class is not in the table.
        ConfigError: A class name is needed.
    """
    photographs = next((p for p in (source, source / "train") if (p / "labels").is_dir()), None)
    if source.is_file() or photographs is not None:
        if table is None:
            table = ClassTable.from_names(["background", class_name or "instrument"])
        class_id = _class_id(table, class_name, source)
        if photographs is not None:
            ids = dict.fromkeys(_ANY_INDEX, class_id)
            return foregrounds_from_boxes(photographs, ids, max_images=max_images), table
        return [_from_screen(source, class_id)], table
    frames = open_frames(source)
    frames = frames.subset("train") if frames.splits.get("train") else frames
    found = foregrounds_from_frames(frames, max_frames=max_images)
    if table is None:
        return found, frames.table
    lut = _by_name(frames.table, table, source)
    return [replace(one, mask=lut[one.mask]) for one in found], table


def write_composites(
    backgrounds: FrameSet,
    foregrounds: Sequence[Foreground],
    out: Path,
    *,
    table: ClassTable,
    count: int,
    config: PlacementConfig | None = None,
    seed: int = 0,
    unlabelled: int = IGNORE_INDEX,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Writes an image-and-mask folder; the group of a composite is that of its background.

    Args:
        backgrounds: Frames to clone into, used in turn.
        foregrounds: The instruments to clone.
        out: Folder to make; it is written completely or not at all.
        table: The class table of backgrounds and foregrounds.
        count: Number of composites.
        config: Where and how instruments are placed; every frame gets at least one.
        seed: Equal seeds give equal images.
        unlabelled: Label of backgrounds without mask: 255 (ignored) or 0 (background).
        progress: Called with the number of frames done and the total.

    Raises:
        OutputExistsError: ``out`` exists.
        DataError: There is no background or no foreground.
        SinkError: It cannot be written.
    """
    if not len(backgrounds) or not foregrounds:
        raise DataError(
            f"there are {len(backgrounds)} backgrounds and {len(foregrounds)} instruments",
            remedy="pass a set with frames and a source with instruments",
        )
    check_output(out)
    composite = Composite(
        tuple(foregrounds), replace(config or PlacementConfig(), chance=1.0), unlabelled
    )
    with replaced_folder(out) as folder:
        for index in range(count):
            item = backgrounds.items[index % len(backgrounds)]
            draw = np.random.SeedSequence((seed, index)).generate_state(1, np.uint64)
            sample = composite(backgrounds.read(item), int(draw[0]))
            assert sample.mask is not None  # paste gives every background a mask
            name = f"{item.group.replace('/', '-') or 'none'}__{index:06d}.png"
            write_picture(folder / "images" / name, sample.image)
            write_picture(folder / "masks" / name, sample.mask)
            if progress:
                progress(index + 1, count)
        table.write(folder / "classes.toml")
        settings = {"name": f"composites on {backgrounds.name}", "group": "^(?!none__)(.+)__"}
        (folder / "dataset.toml").write_text(tomli_w.dumps(settings), encoding="utf-8")


def _from_screen(image: Path, class_id: int) -> Foreground:
    beside = [image.with_name(f"{image.stem}_seg{suffix}") for suffix in IMAGE_SUFFIXES]
    mask = next((read_raw_mask(path).values for path in beside if path.is_file()), None)
    if mask is not None and mask.ndim == 3:
        mask = mask.max(axis=2)
    return foreground_from_chroma(read_image(image), class_id=class_id, name=str(image), mask=mask)


def _class_id(table: ClassTable, name: str, source: Path) -> int:
    if not name and len(table.instrument_ids) == 1:
        return table.instrument_ids[0]
    if name in table.names and name != table[0].name:
        return table[name].id
    raise ConfigError(
        f"{source} does not name the class of its instruments"
        if not name
        else f"{name!r} is not a class of instruments",
        remedy=f"pass --class with one of {', '.join(table.names[1:])}",
    )


def _by_name(
    mine: ClassTable, wanted: ClassTable, source: Path
) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    missing = [row.name for row in mine if row.instrument and row.name not in wanted.names]
    if missing:
        raise DataError(
            f"the class table of the backgrounds lacks instruments of {source}: "
            f"{', '.join(missing)}",
            remedy=f"add them to the table, which has {', '.join(wanted.names)}",
        )
    lut = np.zeros(256, np.uint8)
    for row in mine:
        if row.name in wanted.names:
            lut[row.id] = wanted[row.name].id
    return lut
