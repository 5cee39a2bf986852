"""Streams: step-indexed, equal over workers and ranks, and bounded in memory."""

from __future__ import annotations

import functools
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from trocar.contract.classes import ClassTable
from trocar.contract.errors import ArgumentError, ConfigError, DataError
from trocar.train.data.loader.batch_stream import (
    FrameDataset,
    Stream,
    StreamSpec,
    data_loader,
    read_batch,
)
from trocar.train.data.loader.frame_cache import FrameCache, cached
from trocar.train.data.sample import FrameSet, Item, Sample
from trocar.train.data.splits import with_splits
from trocar.train.data.transforms import (
    NO_AUGMENT,
    Augment,
    AugmentConfig,
    photometric,
    resize_eval,
    resize_mask,
)

TABLE = ClassTable.from_names(["background", "grasper", "scissors"])
AUGMENT = Augment(AugmentConfig(), (24, 32))


def made_up(item: Item, *, labelled: bool = True) -> Sample:
    rng = np.random.default_rng(int(item.name))
    image = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
    mask = rng.integers(0, 3, (30, 40), dtype=np.uint8) if labelled else None
    return Sample(name=item.name, image=image, mask=mask)


def frame_set(count: int = 7, *, labelled: bool = True, groups: int = 0) -> FrameSet:
    items = tuple(
        Item(
            name=str(i),
            image=Path(f"{i}.png"),
            mask=Path(f"{i}_m.png") if labelled else None,
            group=f"case{i % groups}" if groups else "",
        )
        for i in range(count)
    )
    return FrameSet(
        name="made up",
        root=Path("nowhere"),
        table=TABLE,
        items=items,
        splits={},
        read=functools.partial(made_up, labelled=labelled),
    )


def stream(**kwargs: int) -> Stream:
    spec = StreamSpec(
        frames=frame_set(), augment=AUGMENT, batch_size=4, cache_mb=kwargs.pop("cache_mb", 0)
    )
    return Stream(spec, seed=kwargs.pop("seed", 3), **kwargs)


def test_a_step_is_always_the_same_batch() -> None:
    whole = list(stream().batches(stop=6))
    resumed = list(stream(cache_mb=1).batches(start=3, stop=6, workers=2))
    assert len(resumed) == 3
    for expected, got in zip(whole[3:], resumed, strict=True):
        assert got["name"] == expected["name"]
        assert torch.equal(got["image"], expected["image"])
        assert torch.equal(got["mask"], expected["mask"])
    assert whole[0]["image"].dtype == torch.float32
    assert whole[0]["image"].shape == (4, 3, 24, 32)
    assert whole[0]["mask"].dtype == torch.int64
    assert whole[0]["index"].tolist() == [int(name) for name in whole[0]["name"]]


def test_global_random_state_neither_matters_nor_changes() -> None:
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    before = torch.get_rng_state()
    first = stream().batch(5)
    list(stream().batches(stop=1))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002
    assert torch.equal(stream().batch(5)["image"], first["image"])


def test_ranks_take_slices_of_the_same_global_batch() -> None:
    whole = stream().batch(2)
    parts = [stream(rank=rank, world=2).batch(2) for rank in range(2)]
    assert torch.equal(torch.cat([part["image"] for part in parts]), whole["image"])
    assert [name for part in parts for name in part["name"]] == whole["name"]


def test_every_frame_comes_once_before_any_comes_again() -> None:
    one = stream()
    draws = [draw for step in range(7) for draw in one.sample_indices(step)]
    positions = [one.frame_index(draw) for draw in draws]
    for epoch in range(4):
        assert sorted(positions[7 * epoch : 7 * epoch + 7]) == list(range(7))
    assert positions[:7] != positions[7:14]
    assert len(one) == 2


def test_seed_and_name_change_what_is_drawn() -> None:
    spec = StreamSpec(frames=frame_set(40), augment=AUGMENT, batch_size=8)
    orders = {
        tuple(Stream(spec, seed=seed, name=name).batch(0)["index"].tolist())
        for seed in (0, 1)
        for name in ("labelled", "unlabelled")
    }
    assert len(orders) == 4


def test_a_frame_drawn_again_is_augmented_anew() -> None:
    spec = StreamSpec(frames=frame_set(1), augment=AUGMENT, batch_size=2)
    image = Stream(spec, seed=0).batch(0)["image"]
    assert not torch.equal(image[0], image[1])


def test_a_batch_that_cannot_be_divided_is_refused() -> None:
    with pytest.raises(ArgumentError, match="multiple of 3"):
        stream(rank=0, world=3)


def test_empty_and_unlabelled_sets_are_refused() -> None:
    with pytest.raises(DataError, match="no frames"):
        Stream(StreamSpec(frames=frame_set(0), augment=AUGMENT, batch_size=1), seed=0)
    bare = frame_set(3, labelled=False)
    with pytest.raises(DataError, match=r"3 frames .* no mask, the first is 0\.png"):
        Stream(StreamSpec(frames=bare, augment=AUGMENT, batch_size=1), seed=0)
    batch = Stream(
        StreamSpec(frames=bare, augment=AUGMENT, batch_size=2, labelled=False), seed=0
    ).batch(0)
    assert "mask" not in batch
    assert set(batch["outside"].unique().tolist()) <= {0, 255}


def test_before_sees_the_decoded_frame_and_the_draws_seed() -> None:
    seen: list[tuple[tuple[int, ...], int]] = []

    def before(sample: Sample, seed: int) -> Sample:
        seen.append((sample.image.shape, seed))
        return Sample(name="changed", image=sample.image * 0, mask=sample.mask)

    spec = StreamSpec(
        frames=frame_set(), augment=Augment(NO_AUGMENT, (24, 32)), batch_size=2, pre_augment=before
    )
    one = Stream(spec, seed=0)
    batch = one.batch(1)
    assert batch["name"] == ["changed", "changed"]
    assert float(batch["image"].max()) == 0
    assert seen == [((30, 40, 3), one.sample_seed(draw)) for draw in one.sample_indices(1)]


def test_the_cache_is_shared_by_workers_and_bounded() -> None:
    frame = 30 * 40 * 4
    frames = frame_set(400)
    cache = FrameCache(len(frames), megabytes=1)
    dataset = FrameDataset(frames, Augment(NO_AUGMENT, (30, 40)), cache)
    plain = FrameDataset(frames, Augment(NO_AUGMENT, (30, 40)))
    for batch in data_loader(
        dataset, [list(range(i, i + 50)) for i in range(0, 400, 50)], workers=2
    ):
        assert len(batch["name"]) == 50
    assert cache.used <= 1 << 20
    assert len(cache) == (1 << 20) // frame  # filled in the workers, seen here
    for position in (0, 3, 399):
        kept, expected = (read_batch(source, [position]) for source in (dataset, plain))
        assert torch.equal(kept["image"], expected["image"])
        assert torch.equal(kept["mask"], expected["mask"])


def test_the_cache_reads_a_frame_once() -> None:
    reads: list[str] = []

    def counting(item: Item) -> Sample:
        reads.append(item.name)
        return made_up(item, labelled=False)

    frames = frame_set(3, labelled=False)
    object.__setattr__(frames, "read", counting)
    read = cached(frames, FrameCache(3, megabytes=1))
    first = [read(i) for i in (0, 1, 0, 1, 2)]
    assert reads == ["0", "1", "2"]
    assert np.array_equal(first[0].image, first[2].image)
    assert first[2].mask is None
    with pytest.raises(ValueError, match="read-only"):
        first[2].image[0] = 1


def test_splits_are_made_of_whole_groups() -> None:
    frames = with_splits(frame_set(40, groups=5), val=0.25, seed=1)
    train = {item.group for item in frames.subset("train")}
    val = {item.group for item in frames.subset("val")}
    assert not train & val
    assert train | val == {f"case{i}" for i in range(5)}
    assert len(frames.subset("val")) >= 10
    assert "validate" in frames.notes[0]
    again = with_splits(frames, val=0.9)
    assert again is frames


def test_splits_without_groups_take_the_last_frames() -> None:
    frames = with_splits(frame_set(10), val=0.2)
    assert frames.splits["val"] == ("8", "9")
    with pytest.raises(DataError, match="one group, 'case0'"):
        with_splits(frame_set(4, groups=1))


# Augmentation


def blocks(height: int = 60, width: int = 80) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A picture whose red channel tells its class: label-safety can be read off a pixel."""
    mask = np.zeros((height, width), np.uint8)
    mask[10:40, 20:50] = 1
    mask[45:55, 55:75] = 2
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = 60 + 80 * mask
    return image, mask


GEOMETRY = AugmentConfig(
    flip_vertical=0.5,
    scale=(0.7, 1.5),
    rotate=30,
    shift=0.2,
    brightness=0,
    contrast=0,
    saturation=0,
    hue=0,
    blur=0,
    noise=0,
)


def test_labels_move_with_the_picture() -> None:
    image, mask = blocks()
    corners = set()
    for seed in range(30):
        moved, labels = Augment(GEOMETRY, (48, 64))(image, mask, seed)
        assert labels is not None
        assert set(labels.unique().tolist()) <= {0, 1, 2, 255}
        expected = torch.where(labels == 255, torch.zeros(()), 60 + 80.0 * labels)
        wrong = (moved[0] - expected).abs() > 45  # more than a blended edge
        assert float(wrong.float().mean()) < 0.03, seed
        corners.add(tuple(labels[24, 28:36].tolist()))
    assert len(corners) > 5


def test_labels_never_blend() -> None:
    image, mask = blocks()
    mask[mask == 2] = 200
    labels = Augment(GEOMETRY, (48, 64))(image, mask, 5)[1]
    assert labels is not None
    assert set(labels.unique().tolist()) <= {0, 1, 200, 255}
    small = resize_mask(mask, (13, 17))
    assert small is not None
    assert set(small.unique().tolist()) <= {0, 1, 200}


def test_no_augmentation_resizes_as_torch_does() -> None:
    image = np.random.default_rng(0).integers(0, 256, (67, 91, 3), dtype=np.uint8)
    got = Augment(NO_AUGMENT, (48, 64))(image, None, 3)[0]
    frame = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    expected = torch.nn.functional.interpolate(
        frame, size=(48, 64), mode="bilinear", align_corners=False, antialias=False
    )[0]
    assert torch.allclose(got, expected, atol=1e-3)
    assert torch.equal(got, resize_eval(image, (48, 64)))


@pytest.mark.parametrize("source", [(270, 480), (256, 320), (131, 97), (96, 200), (64, 50)])
def test_resizing_in_strips_is_resizing_the_whole(source: tuple[int, int]) -> None:
    image = np.random.default_rng(1).integers(0, 256, (*source, 3), dtype=np.uint8)
    whole = cv2.resize(image.astype(np.float32), (160, 128), interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(resize_eval(image, (128, 160)).numpy(), whole.transpose(2, 0, 1))


def test_colours_stay_in_range_and_grey_stays_grey_under_hue() -> None:
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (20, 20, 3)).astype(np.uint8)
    for seed in range(10):
        out = photometric(image, AugmentConfig(), np.random.default_rng(seed))
        assert out.dtype == np.float32
        assert out.min() >= 0
        assert out.max() <= 255
    hue_only = AugmentConfig(brightness=0, contrast=0, saturation=0.9, hue=180, blur=0, noise=0)
    grey = np.full((4, 4, 3), 77, np.uint8)
    out = photometric(grey, hue_only, np.random.default_rng(2))
    assert np.allclose(out, 77, atol=1e-2)


def test_black_stays_black_and_dark_stays_lighter_than_it() -> None:
    levels = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    light = AugmentConfig(blur=0, noise=0)
    means = []
    for seed in range(40):
        out = photometric(levels, light, np.random.default_rng(seed))[0].mean(-1)
        assert out[0] == 0
        assert out[8] > 2
        assert (np.diff(out) >= -1e-3).all()
        means.append(float(out[128]))
    assert np.ptp(means) > 25


def test_settings_do_not_disturb_each_others_draws() -> None:
    image, mask = blocks()
    plain = Augment(GEOMETRY, (48, 64))(image, mask, 4)[1]
    noisy = Augment(AugmentConfig(**{**vars(GEOMETRY), "noise": 5.0, "blur": 1.0}), (48, 64))(
        image, mask, 4
    )[1]
    assert plain is not None
    assert noisy is not None
    assert torch.equal(plain, noisy)


def test_augmentation_settings_are_checked_together() -> None:
    with pytest.raises(ConfigError, match=r"noise .*; scale"):
        AugmentConfig(scale=(2, 1), noise=-1)


@pytest.mark.parametrize("size", [(60, 80), (48, 64), (90, 50)])
def test_geometry_that_does_nothing_is_the_evaluations_resize(size: tuple[int, int]) -> None:
    # Pixel centres must meet: a shift by half a pixel would show as a bias at evaluation.
    image, mask = blocks()
    image = cv2.GaussianBlur(image, (0, 0), 4)
    nothing = AugmentConfig(**{**vars(NO_AUGMENT), "noise": 1e-9})
    moved, labels = Augment(nothing, size)(image, mask, 0)
    # The outermost pixels of an enlarged frame blend with the black outside.
    inside = (moved - resize_eval(image, size))[:, 1:-1, 1:-1]
    assert inside.abs().max() < 1.5
    expected = resize_mask(mask, size)
    assert labels is not None
    assert expected is not None
    assert (labels != expected).float().mean() < 0.03
