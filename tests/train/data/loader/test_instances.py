"""Instance maps of training batches: checked, numbered, and moved with their frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import annotation_layouts
import cv2
import layouts
import numpy as np
import pytest
import torch
from data_helpers import image_and_mask_folder
from numpy.typing import NDArray

from trocar.contract.classes import ClassTable
from trocar.contract.errors import DataError
from trocar.train.data.compositing.foregrounds import Foreground
from trocar.train.data.compositing.poisson import paste
from trocar.train.data.loader.batch_stream import Stream, StreamSpec
from trocar.train.data.loader.instances import (
    InstanceReader,
    move_instances,
    numbered_instances,
    require_instances,
)
from trocar.train.data.phantom import PhantomConfig, write_phantom
from trocar.train.data.readers import open_frames
from trocar.train.data.sample import FrameSet, Item, Sample
from trocar.train.data.transforms import NO_AUGMENT, Augment, AugmentConfig

TABLE = ClassTable.from_names(["background", "grasper", "liver"], instruments=["grasper"])
SIZE = (32, 48)


def bars(seed: int) -> NDArray[np.uint8]:
    """Three bars that cross, numbered from 1."""
    rng = np.random.default_rng(seed)
    numbers = np.zeros((40, 60), np.uint8)
    for number, start in ((1, (2, 20)), (2, (2, 2)), (3, (30, 0))):
        end = (int(rng.integers(30, 60)), int(rng.integers(25, 40)))
        cv2.line(numbers, start, end, number, 5)
    return numbers


def frames_of(number: Callable[[NDArray[np.uint8]], Any] = lambda bars: bars) -> FrameSet:
    """Frames whose masks show the bars, all of one class."""
    table = ClassTable.from_names(["background", "grasper"])

    def read(item: Item) -> Sample:
        mask = np.minimum(bars(int(item.name)), 1)
        image = np.repeat(mask[..., None] * np.uint8(200), 3, axis=2)
        return Sample(name=item.name, image=image, mask=mask)

    items = tuple(Item(name=str(i), image=Path(f"{i}.png"), mask=Path("m.png")) for i in range(5))
    return FrameSet(
        name="bars",
        root=Path("nowhere"),
        table=table,
        items=items,
        splits={},
        read=read,
        instances=lambda item: number(bars(int(item.name))),
    )


def phantom(root: Path) -> Path:
    write_phantom(root, PhantomConfig(frames=4, size=(64, 96), instruments=(2, 2), crossing=True))
    return root


@pytest.mark.parametrize(
    ("write", "task"),
    [
        (phantom, ""),
        (layouts.endovis2015_rigid, "binary"),
        (layouts.endovis2017, "type"),
        (layouts.cholec_instance_seg, "type"),
        (layouts.robust_mis, "binary"),
        (annotation_layouts.coco, "type"),
    ],
)
def test_every_set_with_instance_maps_gives_them(
    write: Callable[[Path], Path], task: str, tmp_path: Path
) -> None:
    frames = open_frames(write(tmp_path / "set"), task=task).labelled()
    read = InstanceReader(frames, most=8)
    most = 0
    for item in frames.items:
        sample = read(item)
        assert sample.instances is not None
        assert sample.mask is not None
        count = int(sample.instances.max())
        assert sorted(set(np.unique(sample.instances)) - {0}) == list(range(1, count + 1))
        assert not sample.instances[~np.isin(sample.mask, frames.table.instrument_ids)].any()
        most = max(most, count)
    assert most >= 2


def test_instances_are_numbered_and_are_those_of_instruments() -> None:
    given = np.array([[7, 7, 9, 300, 0, 7]], np.uint16)
    mask = np.array([[1, 1, 2, 1, 1, 255]], np.uint8)
    assert numbered_instances(given, mask, TABLE, source="f").tolist() == [[1, 1, 0, 2, 0, 0]]
    huge = given.astype(np.uint32) * 1_000_000
    assert numbered_instances(huge, mask, TABLE, source="f").tolist() == [[1, 1, 0, 2, 0, 0]]


def test_bad_instance_maps_are_refused_in_words(tmp_path: Path) -> None:
    parts = ClassTable.from_names(["background", "shaft", "tip"])
    mask = np.array([[1] * 30 + [2] * 10], np.uint8)
    with pytest.raises(DataError, match=r"instance 4 of f is of two classes: 30 .*shaft and 10"):
        numbered_instances(np.full_like(mask, 4), mask, parts, source="f")
    noisy = np.array([[1] * 39 + [2]], np.uint8)  # a pixel at a border is no second class
    assert numbered_instances(np.full_like(mask, 4), noisy, parts, source="f").all()
    many = np.arange(1, 301, dtype=np.uint16)[None]
    with pytest.raises(DataError, match="300 instances of instruments, expected at most 255"):
        numbered_instances(many, np.ones(many.shape, np.uint8), parts, source="f")
    frames = frames_of()
    with pytest.raises(DataError, match=r"has 3 instances .* max_instances is 2") as error:
        InstanceReader(frames, most=2)(frames.items[0])
    assert error.value.remedy == "pass --max-instances 3 or more"
    with pytest.raises(DataError, match="has no instance maps"):
        require_instances(open_frames(image_and_mask_folder(tmp_path / "plain")))
    nothing = ClassTable.from_names(["background", "liver"], instruments=[])
    with pytest.raises(DataError, match=r"no class .* is an instrument"):
        require_instances(replace(frames, table=nothing))


@pytest.mark.parametrize("config", [NO_AUGMENT, AugmentConfig(border=0.5, rotate=60)])
def test_an_instance_map_moves_as_its_mask_does(config: AugmentConfig) -> None:
    augment = Augment(config, SIZE)
    for seed in range(12):
        numbers = bars(seed)
        image = np.zeros((40, 60, 3), np.uint8)
        expected = augment(image, numbers, seed)[1]
        assert expected is not None
        moved = torch.full(SIZE, 77, dtype=torch.uint8)
        move_instances(augment, numbers, seed, out=moved)
        # A mask is ignored outside of the frame; there is no instance there.
        assert torch.equal(moved.long(), expected.masked_fill(expected == 255, 0))


def test_batches_have_instances_and_do_not_depend_on_cache_and_workers() -> None:
    def stream(cache_mb: int) -> Stream:
        spec = StreamSpec(
            frames=frames_of(lambda bars: bars * np.uint16(100)),
            augment=Augment(AugmentConfig(), SIZE),
            batch_size=4,
            cache_mb=cache_mb,
            instances=3,
        )
        return Stream(spec, seed=3)

    plain = list(stream(0).batches(stop=4))
    for other in (list(stream(1).batches(stop=4)), list(stream(1).batches(stop=4, workers=1))):
        for expected, got in zip(plain, other, strict=True):
            assert torch.equal(got["instances"], expected["instances"])
            assert torch.equal(got["mask"], expected["mask"])
    batch = plain[0]
    assert batch["instances"].dtype == torch.uint8
    assert int(batch["instances"].max()) == 3
    assert torch.equal(batch["instances"] > 0, batch["mask"] == 1)
    assert stream(0).batch_bytes == 4 * SIZE[0] * SIZE[1] * 21


def test_a_pasted_instrument_is_one_more_instance() -> None:
    numbers = bars(1)
    image = np.full((40, 60, 3), 90, np.uint8)
    sample = Sample(name="f", image=image, mask=np.minimum(numbers, 1), instances=numbers)
    mask = np.zeros((12, 20), np.uint8)
    mask[2:10, 2:18] = 1
    pasted = paste(sample, Foreground(name="x", image=image[:12, :20], mask=mask), shift=(5, 6))
    assert pasted.instances is not None
    assert (pasted.instances[7:15, 8:24] == 4).all()
    assert np.array_equal(pasted.instances[20:], numbers[20:])
    assert np.array_equal(pasted.instances > 0, pasted.mask == 1)
