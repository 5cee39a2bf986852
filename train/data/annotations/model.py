"""The annotation of an image, in the form that all formats share; masks are drawn when used.

labels = label_map_of(annotated, {"background": 0, "grasper": 1})   # [H, W] uint8
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import IGNORE_INDEX
from trocar.train.data.sample import Fault

Draw = Callable[[tuple[int, int]], NDArray[np.bool_]]
"""Draws one region ``[H, W]`` on an image of the given height and width."""
MAX_INSTANCES = 255
"""Most instances of one picture that an instance map of 8 bits can hold."""
SPECIAL_LABELS: Mapping[str, int] = {"__ignore__": IGNORE_INDEX, "_background_": 0}
"""Labels of LabelMe that are no classes, and the mask values that they mean."""


@dataclass(frozen=True)
class DrawnMasks(Sequence[NDArray[np.bool_]]):
    """Masks ``[H, W]`` bool that are drawn each time they are used, so that none is kept.

    Attributes:
        size: Height and width in pixels.
        draws: One function for each mask.
    """

    size: tuple[int, int]
    draws: tuple[Draw, ...]

    def __len__(self) -> int:
        return len(self.draws)

    def __getitem__(self, index: int) -> NDArray[np.bool_]:  # type: ignore[override]
        return self.draws[index](self.size)

    def __iter__(self) -> Iterator[NDArray[np.bool_]]:
        return (draw(self.size) for draw in self.draws)


@dataclass(frozen=True, kw_only=True)
class AnnotatedImage:
    """The annotation of one image.

    Attributes:
        file_name: Name of the image, as written in the file.
        size: Height and width in pixels; (0, 0) where the file does not give them.
        labels: Class name of each region.
        masks: ``[H, W]`` bool of each region; later regions cover earlier ones.
        key: What the file calls the image, e.g. ``image 3``; empty if it has no other name.
        frame: Number of the frame in its video; ``None`` if the image has a name.
        extent: Smallest and largest x and y of all polygons, ``(x0, y0, x1, y1)``; ``None`` if
            nothing bounds them, or a region fits only the written size.
        numbers: Instance number of each region, from 1; 0 for a region that is no single instance,
            such as a crowd. ``None`` if the annotation does not tell instances apart.
    """

    file_name: str
    size: tuple[int, int]
    labels: tuple[str, ...]
    masks: Sequence[NDArray[np.bool_]]
    key: str = ""
    frame: int | None = None
    extent: tuple[float, float, float, float] | None = None
    numbers: tuple[int, ...] | None = None

    def sized(self, size: tuple[int, int]) -> AnnotatedImage:
        """The same regions, drawn on an image of another height and width."""
        masks = self.masks
        if isinstance(masks, DrawnMasks):
            masks = replace(masks, size=size)
        return replace(self, size=size, masks=masks)


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """What an annotation file or folder holds.

    Attributes:
        images: The annotated images.
        names: Class names in the order of the file.
        faults: All that cannot be read.
        notes: What was read in a way that the user should know.
        lines: Number of lines, which have no area.
    """

    images: tuple[AnnotatedImage, ...]
    names: tuple[str, ...]
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()
    lines: int = 0


def label_map_of(annotated: AnnotatedImage, ids: Mapping[str, int]) -> NDArray[np.uint8]:
    """Class ids ``[H, W]`` uint8 of an annotated image; later regions cover earlier ones.

    One mask is in memory at a time.
    """
    return maps_of(annotated, ids)[0]


def maps_of(
    annotated: AnnotatedImage, ids: Mapping[str, int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Class ids and instance numbers of an annotated image, each ``[H, W]`` uint8.

    Background, ignored pixels and regions without a number have the number 0. Later regions cover
    earlier ones. One mask is in memory at a time.

    Args:
        annotated: The image, with numbers up to `MAX_INSTANCES` if they are used.
        ids: Class id by label.
    """
    labels, instances = np.zeros(annotated.size, np.uint8), np.zeros(annotated.size, np.uint8)
    numbers = annotated.numbers or (0,) * len(annotated.labels)
    for label, region, number in zip(annotated.labels, annotated.masks, numbers, strict=True):
        labels[region] = ids[label]
        instances[region] = 0 if ids[label] in (0, IGNORE_INDEX) else number % 256
    return labels, instances


def numbers_of(keys: Iterable[Hashable | None]) -> tuple[int, ...]:
    """Instance numbers from 1 in order of appearance, equal for equal keys; 0 for ``None``."""
    known: dict[Hashable, int] = {}
    return tuple(0 if key is None else known.setdefault(key, len(known) + 1) for key in keys)


def listed(values: Sequence[object], *, limit: int = 8) -> str:
    """The first values, and how many more there are, as text."""
    more = f" and {len(values) - limit} more" if len(values) > limit else ""
    return ", ".join(str(value) for value in values[:limit]) + more
