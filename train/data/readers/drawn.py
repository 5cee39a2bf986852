"""Frames whose labels are shapes of an annotation: drawn when they are read.

    read = functools.partial(drawn.read, table=table)

The reader puts the annotated image into ``extra["annotated"]`` and its file into
``extra["source"]``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import ClassTable
from trocar.contract.errors import DataError
from trocar.contract.media.pictures import read_image
from trocar.train.data.annotations.model import (
    MAX_INSTANCES,
    SPECIAL_LABELS,
    AnnotatedImage,
    maps_of,
)
from trocar.train.data.readers.common import table_from_names
from trocar.train.data.sample import Item, Sample


def read(item: Item, *, table: ClassTable) -> Sample:
    """Reads a frame and draws its mask.

    Raises:
        DataError: The picture cannot be read, or its annotation is for another size.
    """
    image = read_image(item.image)
    annotated: AnnotatedImage = item.extra["annotated"]
    size = (image.shape[0], image.shape[1])
    if annotated.size not in (size, (0, 0)):
        raise DataError(
            f"{item.image} is {size[1]}x{size[0]}, its annotation in {item.extra['source']} is "
            f"for {annotated.size[1]}x{annotated.size[0]}",
            remedy="annotate the picture at its own size",
        )
    labels, _ = maps_of(annotated.sized(size), _known(item, table))
    return Sample(name=item.name, image=image, mask=labels)


def instances(item: Item, *, table: ClassTable) -> NDArray[np.uint8]:
    """Instance numbers ``[H, W]`` of a frame.

    Raises:
        DataError: There are more than `MAX_INSTANCES`.
    """
    annotated: AnnotatedImage = item.extra["annotated"]
    if max(annotated.numbers or (0,)) > MAX_INSTANCES:
        raise DataError(
            f"{item.image} has {max(annotated.numbers or (0,))} instances, expected at most "
            f"{MAX_INSTANCES}",
            remedy="remove shapes from its annotation",
        )
    if annotated.size == (0, 0):
        image = read_image(item.image)
        annotated = annotated.sized((image.shape[0], image.shape[1]))
    return maps_of(annotated, _known(item, table))[1]


def _known(item: Item, table: ClassTable) -> Mapping[str, int]:
    ids = class_ids(table)
    odd = sorted(set(item.extra["annotated"].labels) - ids.keys())
    if odd:
        raise DataError(
            f"{item.extra['source']} has the label {odd[0]!r}, expected {', '.join(table.names)}",
            remedy="correct the labels, or pass a class table that has them",
        )
    return ids


def class_ids(table: ClassTable) -> Mapping[str, int]:
    """Class id by label; LabelMe's special labels and unused categories included."""
    return {**SPECIAL_LABELS, **{row.name: row.id for row in table}}


def table_of_labels(names: list[str], *, file: Path) -> ClassTable:
    """Background, then the labels in their order.

    Raises:
        DataError: A label is no name for a class; the text names the file.
    """
    plain = [name for name in dict.fromkeys(names) if name not in ("background", *SPECIAL_LABELS)]
    return table_from_names(["background", *plain], file=file)
