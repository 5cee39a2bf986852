"""Instance maps of training frames: read, checked, numbered from 1, and moved by augmentation.

    read = InstanceReader(frames, most=8)
    sample = read(frames.items[0]); sample.instances              # [H,W] uint8, 0..8

Instances are those of classes that are instruments. Pixels of other classes, and ignored ones, have
no instance.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from trocar.contract.classes import ClassTable
from trocar.contract.errors import DataError
from trocar.train.data.borders import draw_border
from trocar.train.data.sample import FrameSet, Item, Sample
from trocar.train.data.transforms import Augment, draw_warp, resize_mask

OTHER_CLASS = 0.05
"""Share of an instance's pixels that may be of another class: drawing is not exact at borders."""


class InstanceReader:
    """Reads frames with their instance maps.

    Args:
        frames: The set.
        most: Largest number of instances of a frame.
    """

    def __init__(self, frames: FrameSet, *, most: int) -> None:
        self.frames = frames
        self.most = most

    def __call__(self, item: Item) -> Sample:
        """A labelled frame with its instances.

        Raises:
            DataError: It cannot be read, the set has no instance maps, the frame has too many
                instances, or one of them is of two classes.
        """
        sample = self.frames.read(item)
        if sample.mask is None:
            return sample
        require_instances(self.frames)
        given = self.frames.instance_map(item, sample.mask.shape)
        assert given is not None
        numbers = numbered_instances(
            given, sample.mask, self.frames.table, source=_name(self, item)
        )
        count = int(numbers.max(initial=0))
        if count > self.most:
            raise DataError(
                f"{_name(self, item)} has {count} instances of instruments, max_instances is "
                f"{self.most}",
                remedy=f"pass --max-instances {count} or more",
            )
        return replace(sample, instances=numbers)


def require_instances(frames: FrameSet) -> None:
    """Refuses a set without instance maps, or without classes that can have instances.

    Raises:
        DataError: It has none.
    """
    if frames.instances is None:
        raise DataError(
            f"{frames.name} in {frames.root} has no instance maps",
            remedy="add instances/NAME.png for every mask (0 for none, then one number for each "
            "instrument), pass a set that has them, e.g. COCO annotations, or use `trocar train "
            "supervised`, which needs none",
        )
    if not frames.table.instrument_ids:
        raise DataError(
            f"no class of {frames.name} in {frames.root} is an instrument, so none has instances",
            remedy="write instrument = true at the classes that are instruments",
        )


def numbered_instances(
    given: NDArray[np.unsignedinteger[Any]],
    mask: NDArray[np.uint8],
    table: ClassTable,
    *,
    source: str,
) -> NDArray[np.uint8]:
    """Numbers from 1 for the instances of instruments, in the order of the given numbers.

    Args:
        given: ``[H,W]`` numbers of any size, 0 for none.
        mask: ``[H,W]`` class ids, 255 = ignored.
        table: The classes.
        source: Name of the frame, for errors.

    Returns:
        ``[H,W]`` uint8; 255 is the largest number.

    Raises:
        DataError: An instance is of two classes, or there are more than 255.
    """
    is_instrument = np.zeros(256, np.bool_)
    is_instrument[list(table.instrument_ids)] = True
    kept = np.where(is_instrument[mask], given, 0)
    # Counting is fast; only maps with huge numbers are sorted.
    is_small = int(kept.max(initial=0)) < 65536
    values = np.flatnonzero(np.bincount(kept.ravel())) if is_small else np.unique(kept)
    values = values[values > 0]
    if len(values) > 255:
        raise DataError(
            f"{source} has {len(values)} instances of instruments, expected at most 255",
            remedy="give every instrument one number; parts of it have the same one",
        )
    numbers = np.asarray(np.searchsorted(values, kept, side="right"), np.uint8)
    codes = numbers.astype(np.int64) * 256 + mask
    pixels = np.bincount(codes.ravel(), minlength=65536).reshape(256, 256)
    for number, value in enumerate(values.tolist(), start=1):
        first, second = np.argsort(-pixels[number], kind="stable")[:2].tolist()
        if pixels[number, second] > OTHER_CLASS * pixels[number].sum():
            raise DataError(
                f"instance {value} of {source} is of two classes: {pixels[number, first]} pixels "
                f"of {table[first].name} and {pixels[number, second]} of {table[second].name}",
                remedy="an instance has one class: correct the mask or the map; where the classes "
                "are parts of instruments, choose classes that are none, e.g. --task binary",
            )
    return numbers


def move_instances(
    augment: Augment, instances: NDArray[np.uint8], seed: int, *, out: Tensor
) -> None:
    """Moves an instance map as the augmentation of that seed moves the mask of its frame.

    Args:
        augment: Of the frame.
        instances: ``[H,W]`` uint8.
        seed: That of the frame's augmentation.
        out: ``[h,w]`` uint8 for the result; 0 where there is no frame.
    """
    warp = draw_warp(augment.config, instances.shape, augment.size, np.random.default_rng(seed))
    if warp is None:
        resize_mask(instances, augment.size, out=out)
        return
    height, width = augment.size
    moved = np.asarray(
        cv2.warpAffine(instances, warp, (width, height), flags=cv2.INTER_NEAREST), np.uint8
    )
    aspect = instances.shape[1] / instances.shape[0]
    border = draw_border(augment.config.border, augment.size, aspect=aspect, seed=seed)
    np.copyto(out.numpy(), moved if border is None else border.clear(moved))


def _name(reader: InstanceReader, item: Item) -> str:
    return f"{item.name} of {reader.frames.root}"
