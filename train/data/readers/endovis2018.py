"""EndoVis 2018: releases of ``seq_k`` with left frames and RGB masks by ``labels.json``.

    frames = open_frames("endovis2018/", task="parts").subset("val")

Labels in ``repairs.zip`` beside the releases replace the original ones. Sequences 2, 5, 9 and 15
validate. In the binary task, shaft, wrist, clasper, suction and ultrasound probe are instrument;
clamps, needle and thread are background. The parts task ignores the instruments without parts.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import IGNORE_INDEX, ClassTable
from trocar.contract.errors import DataError
from trocar.contract.media.pictures import is_hidden, read_bytes, read_image
from trocar.contract.text.outside_json import load_json
from trocar.train.data.io.archives import member_names, read_archived_image
from trocar.train.data.io.images import RawMask, read_raw_mask
from trocar.train.data.io.masks import Colour, check_size, ids_from_colours, opaque
from trocar.train.data.readers.common import (
    BINARY_TABLE,
    folders,
    images_by_stem,
    misnamed_folders,
    missing_paths,
    table_of,
)
from trocar.train.data.readers.scan import Recognition, Scan, splits_by_group
from trocar.train.data.sample import Fault, FrameSet, Item, Sample

NAME = "EndoVis 2018"
TASKS: tuple[str, ...] = ("scene", "parts", "binary")
COLOURS: dict[str, Colour] = {
    "background": (0, 0, 0),
    "shaft": (0, 255, 0),
    "clasper": (0, 255, 255),
    "wrist": (125, 255, 12),
    "kidney parenchyma": (255, 55, 0),
    "covered kidney": (24, 55, 125),
    "thread": (187, 155, 25),
    "clamps": (0, 255, 125),
    "suturing needle": (255, 255, 125),
    "suction": (123, 15, 175),
    "small intestine": (124, 155, 5),
    "ultrasound probe": (12, 255, 141),
}
ALTERNATIVES: dict[Colour, str] = {(128, 155, 25): "thread"}
INSTRUMENTS = ("shaft", "clasper", "wrist", "suction", "ultrasound probe")
PARTS = ("shaft", "wrist", "clasper")
TABLES = {
    "scene": table_of(
        COLOURS, instruments=INSTRUMENTS, colours=COLOURS, parts={p: p for p in PARTS}
    ),
    "parts": table_of(["background", *PARTS], instruments=PARTS, parts={p: p for p in PARTS}),
    "binary": BINARY_TABLE,
}
VALIDATION = ("seq_2", "seq_5", "seq_9", "seq_15")
SIZE = (1024, 1280)


def recognise(root: Path) -> Recognition:
    """Folders ``seq_k`` with left frames or labels, here or in the folders of the releases."""
    found = _sequences(root)
    if found:
        return Recognition(fits=True, why=f"{len(found)} folders seq_N with left_frames, labels")
    return Recognition(fits=False, why="there is no folder seq_N with left_frames/ or labels/")


def scan(root: Path, *, task: str = "scene", table: ClassTable | None = None) -> Scan:
    """Lists the left frames of all sequences."""
    faults: list[Fault] = []
    items: list[Item] = []
    repairs = _repairs(root)
    found = _sequences(root)
    for sequence in found:
        items += _items(sequence, repairs, faults)
    faults += misnamed_folders({s.parent for s in found}, found, "left_frames", named="seq_N")
    used = sum("repair" in item.extra for item in items)
    codes = _codes(root, task, faults)
    groups = {item.group for item in items}
    frames = FrameSet(
        name=NAME,
        root=root,
        table=table or TABLES[task],
        items=tuple(items),
        splits=splits_by_group(items, val=VALIDATION) if groups & set(VALIDATION) else {},
        read=functools.partial(read, codes=codes),
        notes=(f"repairs.zip overwrites {used} labels",) if used else (),
        task=task,
    )
    return Scan(frames=frames, faults=tuple(faults))


def read(item: Item, *, codes: Mapping[Colour, int]) -> Sample:
    """Reads one frame and its colour mask, the repaired one if it exists.

    Raises:
        DataError: A file cannot be read, or a colour belongs to no class.
    """
    image = read_image(item.image)
    assert item.mask is not None  # frames without label are faults
    raw, where = _label(item)
    mask = ids_from_colours(_rgb(raw, where), codes, path=where)
    check_size(image, mask, image_path=item.image, mask_path=where)
    return Sample(name=item.name, image=image, mask=mask)


def _label(item: Item) -> tuple[RawMask, Path]:
    assert item.mask is not None
    repair = item.extra.get("repair")
    if repair is None:
        return read_raw_mask(item.mask), item.mask
    archive, member = repair
    return RawMask(values=read_archived_image(archive, member)), archive / member


def _rgb(raw: RawMask, path: Path) -> NDArray[np.uint8]:
    values = raw.values if raw.palette is None else raw.palette[raw.values]
    values = opaque(values, path=path)
    return np.dstack([values] * 3) if values.ndim == 2 else values


def _codes(root: Path, task: str, faults: list[Fault]) -> dict[Colour, int]:
    colours: dict[Colour, str] = {colour: name for name, colour in COLOURS.items()}
    colours.update(ALTERNATIVES)
    for file in sorted(root.glob("labels.json")) + sorted(root.glob("*/labels.json")):
        if not is_hidden(file.relative_to(root)):
            _check_table(file, colours, faults)
    ids = {}
    for colour, name in colours.items():
        if task == "scene":
            ids[colour] = TABLES["scene"][name].id
        elif task == "binary":
            ids[colour] = int(name in INSTRUMENTS)
        else:
            partless = IGNORE_INDEX if name in INSTRUMENTS else 0
            ids[colour] = 1 + PARTS.index(name) if name in PARTS else partless
    return ids


def _check_table(file: Path, known: Mapping[Colour, str], faults: list[Fault]) -> None:
    try:
        rows = load_json(read_bytes(file))
        colours = [tuple(int(v) for v in row["color"][:3]) for row in rows]
    except (ValueError, KeyError, TypeError, DataError) as error:
        faults.append(Fault(file=file, text=f"is not a table of label colours: {error}"))
        return
    unknown = [str(colour) for colour in colours if colour not in known]
    if unknown:
        faults.append(Fault(file=file, text=f"has colours of no known class: {', '.join(unknown)}"))


def _repairs(root: Path) -> dict[tuple[str, str], tuple[Path, str]]:
    """Labels of ``repairs.zip`` by sequence and frame."""
    found: dict[tuple[str, str], tuple[Path, str]] = {}
    for archive in [*root.glob("repairs.zip"), *root.glob("*/repairs.zip")]:
        for name in member_names(archive):
            path = PurePosixPath(name)
            sequence = next((p for p in path.parts if re.fullmatch(r"seq_\d+", p)), None)
            if sequence and path.suffix == ".png" and "__MACOSX" not in path.parts:
                found[(sequence, path.stem)] = (archive, name)
    return found


def _sequences(root: Path) -> list[Path]:
    # In folders that are not named like a release, only labelled sequences: others are for testing.
    releases = folders(root, r"miccai_challenge.*")
    others = [folder for folder in folders(root, r"[^._].*") if folder not in releases]
    return [
        sequence
        for place in (root, *releases, *others)
        for sequence in folders(place, r"seq_\d+")
        if (sequence / "labels").is_dir()
        or (place not in others and (sequence / "left_frames").is_dir())
    ]


def _items(
    sequence: Path, repairs: Mapping[tuple[str, str], tuple[Path, str]], faults: list[Fault]
) -> list[Item]:
    faults += missing_paths(sequence / "left_frames", sequence / "labels")
    frames, labels = images_by_stem(sequence / "left_frames"), images_by_stem(sequence / "labels")
    items = []
    for stem, image in frames.items():
        repair = repairs.get((sequence.name, stem))
        if stem not in labels and repair is None:
            faults.append(Fault(file=image, text=f"has no label labels/{stem}.png"))
            continue
        items.append(
            Item(
                name=f"{sequence.name}/{stem}",
                image=image,
                mask=labels.get(stem, sequence / "labels" / f"{stem}.png"),
                group=sequence.name,
                extra={"repair": repair} if repair else {},
            )
        )
    for stem in labels.keys() - frames.keys():
        faults.append(Fault(file=labels[stem], text="is the label of no frame in left_frames/"))
    return items
