"""nnU-Net v2, 2D pictures: ``imagesTr/CASE_0000.png``, ``labelsTr/CASE.png``, ``dataset.json``.

    frames = open_frames("Dataset704_Endovis17/")

``dataset.json`` names the classes. ``imagesTs`` with ``labelsTs`` is the test split. Channels that
lie in separate files (``_0000``, ``_0001``) and volumes are refused.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

from trocar.contract.classes import IGNORE_INDEX, ClassRow, ClassTable, default_colour
from trocar.contract.errors import DataError
from trocar.contract.media.pictures import IMAGE_SUFFIXES, read_bytes, read_image
from trocar.contract.text.outside_json import load_json
from trocar.train.data.io.images import read_raw_mask
from trocar.train.data.io.masks import check_size, grey, ids_from_values
from trocar.train.data.readers.common import images_by_stem, missing_paths
from trocar.train.data.readers.scan import Recognition, Scan
from trocar.train.data.sample import Fault, FrameSet, Item, Sample

NAME = "nnU-Net"
TASKS: tuple[str, ...] = ("type",)
_PARTS = {"Tr": "train", "Ts": "test"}
_CHANNEL = re.compile(r"^(?P<case>.+)_(?P<channel>\d{4})$")


def recognise(root: Path) -> Recognition:
    """``imagesTr``, ``labelsTr`` and ``dataset.json``."""
    if (root / "imagesTr").is_dir() and (root / "dataset.json").is_file():
        return Recognition(fits=True, why="there are imagesTr and dataset.json")
    return Recognition(fits=False, why="there are no imagesTr/ and dataset.json")


def scan(root: Path, *, task: str = "type", table: ClassTable | None = None) -> Scan:
    """Lists the cases that have a label."""
    faults = missing_paths(root / "labelsTr")
    file = root / "dataset.json"
    codes: dict[int, int] = {}
    try:
        stated, codes = read_labels(file)
        table = table or stated
    except DataError as error:
        faults.append(Fault(file=file, text=error.message))
        table = table or ClassTable.from_names(["background"])
    items: list[Item] = []
    splits: dict[str, tuple[str, ...]] = {}
    for part, split in _PARTS.items():
        images, labels = root / f"images{part}", root / f"labels{part}"
        if images.is_dir() and labels.is_dir():
            pairs = _items(images, labels, faults)
            items += pairs
            splits[split] = tuple(item.name for item in pairs)
    frames = FrameSet(
        name=root.name,
        root=root,
        table=table,
        items=tuple(items),
        # A training part alone divides nothing: the caller does.
        splits=splits if len(splits) > 1 else {},
        read=functools.partial(read, codes=codes),
        task=task,
    )
    return Scan(frames=frames, faults=tuple(faults))


def read(item: Item, *, codes: dict[int, int]) -> Sample:
    """Reads one case and its label.

    Raises:
        DataError: A file cannot be read, or a value is not in ``dataset.json``.
    """
    image = read_image(item.image)
    assert item.mask is not None  # Cases without a label are faults.
    mask = ids_from_values(grey(read_raw_mask(item.mask), path=item.mask), codes, path=item.mask)
    check_size(image, mask, image_path=item.image, mask_path=item.mask)
    return Sample(name=item.name, image=image, mask=mask)


def read_labels(path: Path) -> tuple[ClassTable, dict[int, int]]:
    """The classes of a ``dataset.json`` and the class id of each mask value.

    nnU-Net's ``ignore`` label becomes Trocar's ignored index 255.

    Raises:
        DataError: It is no JSON, or its labels are regions or no numbers.
    """
    try:
        document: Any = load_json(read_bytes(path))
    except ValueError as error:
        raise DataError(f"is no JSON: {error}", remedy="copy the file again") from error
    labels = document.get("labels") if isinstance(document, dict) else None
    if not isinstance(labels, dict) or not labels:
        raise DataError('has no "labels"', remedy='write "labels": {"background": 0, "hook": 1}')
    # nnU-Net v1 has the number first.
    pairs = [(n, v) if not str(n).isdigit() else (v, int(n)) for n, v in labels.items()]
    odd = [name for name, value in pairs if type(value) is not int or not 0 <= value <= 255]
    if odd:
        raise DataError(
            f"labels {odd[:4]} are no numbers 0..255: regions are not read",
            remedy="give each class one number",
        )
    by_value = sorted((value, str(name)) for name, value in pairs)
    named = [(value, name) for value, name in by_value if name != "ignore"]
    codes = {value: index for index, (value, _) in enumerate(named)}
    codes |= {value: IGNORE_INDEX for value, name in by_value if name == "ignore"}
    rows = tuple(
        ClassRow(
            id=i, name=name, colour=default_colour(i), instrument=i > 0, type=name if i else ""
        )
        for i, (_, name) in enumerate(named)
    )
    return ClassTable(rows), codes


def _items(images: Path, labels: Path, faults: list[Fault]) -> list[Item]:
    label_of = images_by_stem(labels)
    items: list[Item] = []
    for stem, image in images_by_stem(images).items():
        match = _CHANNEL.match(stem)
        case, channel = (match["case"], match["channel"]) if match else (stem, "0000")
        if channel != "0000":
            faults.append(
                Fault(file=image, text="is a channel of its own, expected one RGB picture a case")
            )
        elif case not in label_of:
            faults.append(Fault(file=image, text=f"has no label {labels.name}/{case}.png"))
        else:
            items.append(Item(name=case, image=image, mask=label_of[case]))
    known = {item.name for item in items}
    faults += [
        Fault(file=label, text=f"is the label of no picture in {images.name}/")
        for case, label in label_of.items()
        if case not in known
    ]
    if not items and not faults:
        kinds = ", ".join(sorted({p.suffix for p in images.iterdir()})) or "nothing"
        text = f"holds {kinds}, expected pictures ({', '.join(IMAGE_SUFFIXES)}); no volumes"
        faults.append(Fault(file=images, text=text))
    return items
