"""Frames without instruments in every batch: draws by hand, and streams that stay exact."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from trocar.contract.classes import ClassTable
from trocar.train.data.loader.batch_stream import Stream, StreamSpec
from trocar.train.data.loader.empty_frames import BatchDraws, frames_without_instruments
from trocar.train.data.sample import FrameSet, Item, Sample
from trocar.train.data.transforms import Augment, AugmentConfig

TABLE = ClassTable.from_names(["background", "grasper"])
EMPTY = (2, 5)


def read(item: Item) -> Sample:
    number = int(item.name)
    image = np.full((12, 16, 3), number, np.uint8)
    mask = np.zeros((12, 16), np.uint8)
    if number not in EMPTY:
        mask[0, 0] = 255 if number == 6 else 1
    return Sample(name=item.name, image=image, mask=mask)


def frame_set(count: int = 11) -> FrameSet:
    items = tuple(Item(name=str(i), image=Path("i"), mask=Path("m")) for i in range(count))
    return FrameSet(name="made up", root=Path(), table=TABLE, items=items, splits={}, read=read)


def test_frames_without_instruments_are_found() -> None:
    # Frame 6 has an ignored pixel, which may hide an instrument.
    assert frames_without_instruments(frame_set()) == EMPTY
    assert frames_without_instruments(frame_set(), max_frames=6) == (2,)  # every second frame
    rows = tuple(replace(row, instrument=False) for row in TABLE)
    assert frames_without_instruments(replace(frame_set(), table=ClassTable(rows))) == ()


@pytest.mark.parametrize(
    ("count", "empty", "batch_size", "first"),
    [
        (11, EMPTY, 4, 1),  # 2 of 11 of 4 samples are 0.7
        (100, (7,), 8, 1),  # at least one
        (10, tuple(range(5)), 8, 4),  # their share of the set
        (10, tuple(range(9)), 4, 3),  # at most all but one
        (10, (), 4, 0),
        (10, tuple(range(10)), 4, 0),  # nothing else
        (10, EMPTY, 1, 0),  # no room
    ],
)
def test_samples_of_a_batch(
    count: int, empty: tuple[int, ...], batch_size: int, first: int
) -> None:
    draws = BatchDraws.split(count, empty, batch_size)
    assert draws.first == first
    seen: Counter[int] = Counter()
    for step in range(draws.steps):
        batch = [draws.frame_index(step * batch_size + i, (1, 2)) for i in range(batch_size)]
        assert sum(index in empty for index in batch) == (first or sum(i in empty for i in batch))
        seen.update(index for index in batch[first:])
    # Each frame of the rest comes once an epoch; the last batch begins the next one.
    assert set(seen) == set(draws.rest)
    assert sum(n > 1 for n in seen.values()) < batch_size


def stream(empty: tuple[int, ...], **where: int) -> Stream:
    spec = StreamSpec(
        frames=frame_set(),
        augment=Augment(AugmentConfig(border=0.5), (12, 16)),
        batch_size=4,
        empty=empty,
    )
    return Stream(spec, seed=3, **where)


def test_every_batch_has_one_and_a_resumed_stream_gives_the_same() -> None:
    whole = list(stream(EMPTY).batches(stop=9))
    for batch in whole:
        assert sum(int(name) in EMPTY for name in batch["name"]) == 1
    assert {batch["name"][0] for batch in whole} == {"2", "5"}
    later = list(stream(EMPTY).batches(start=5, stop=9, workers=1))
    halves = [list(stream(EMPTY, rank=rank, world=2).batches(stop=9)) for rank in (0, 1)]
    for expected, got in zip(whole[5:], later, strict=True):
        assert expected["name"] == got["name"]
        assert torch.equal(expected["image"], got["image"])
        assert torch.equal(expected["mask"], got["mask"])
    for expected, one, other in zip(whole, *halves, strict=True):
        assert torch.equal(expected["image"], torch.cat((one["image"], other["image"])))


def test_a_set_without_empty_frames_is_drawn_as_before() -> None:
    draws = BatchDraws.split(11, (), 4)
    order = [np.random.default_rng((3, 9, epoch)).permutation(11) for epoch in range(2)]
    expected = np.concatenate(order)[:20].tolist()
    assert [draws.frame_index(i, (3, 9)) for i in range(20)] == expected
    assert draws.steps == 3
