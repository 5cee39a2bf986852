"""Pasted borders: shapes, labels, and random numbers that change nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from data_helpers import image_and_mask_folder

from trocar.contract.errors import ConfigError
from trocar.train.data import borders
from trocar.train.data.borders import VIEWS, draw_border
from trocar.train.data.config import DataConfig
from trocar.train.data.loader.segmentation import frames_stream
from trocar.train.data.readers import open_frames
from trocar.train.data.transforms import AUGMENTATIONS, NO_AUGMENT, Augment, AugmentConfig
from trocar.train.methods.protocol import TrainData

SIZE = (48, 64)
IMAGE = np.random.default_rng(0).integers(60, 200, (96, 128, 3), dtype=np.uint8)
MASK = np.full((96, 128), 2, np.uint8)


def views(shape: object, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    monkeypatch.setattr(borders, "VIEWS", (shape,))
    return [drawn(seed).view for seed in range(40)]


def drawn(seed: int) -> borders.Border:
    border = draw_border(1.0, SIZE, aspect=4 / 3, seed=seed)
    assert border is not None
    return border


@pytest.mark.parametrize("shape", VIEWS)
def test_a_view_is_one_region_in_the_middle(shape: object, monkeypatch: pytest.MonkeyPatch) -> None:
    found = views(shape, monkeypatch)
    assert all(view[24, 32] == 255 for view in found)
    shares = [float((view > 127).mean()) for view in found]
    assert 0.3 < min(shares) < max(shares) <= 1
    assert len({round(share, 3) for share in shares}) > 7


def test_bars_lie_at_their_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    by_name = {shape.__name__: shape for shape in VIEWS}
    for name, axis in (("_letterbox", 1), ("_pillarbox", 0)):
        for view in views(by_name[name], monkeypatch):
            lines = view if axis == 1 else view.T
            # Whole rows, to the frame's border, but for two rows of each smooth edge.
            whole = (lines == 255).all(1) | (lines == 0).all(1)
            assert whole.sum() >= len(lines) - 4, name
    missing = [int((v[:, [0, -1]] == 0).all(0).sum()) for v in views(VIEWS[3], monkeypatch)]
    assert set(missing) >= {1, 2}  # a bar on one side alone, or on both
    rounds = views(by_name["_round"], monkeypatch)
    assert any(view[0].any() for view in rounds)  # cut off by the frame
    assert any(not view[0].any() for view in rounds)
    assert all(view[0, 0] == 0 for view in rounds)


def test_surroundings_differ() -> None:
    levels, grain = [], []
    for seed in range(60):
        made = drawn(seed)
        outside = made.surroundings[made.view == 0]
        if len(outside):
            levels.append(float(outside.mean()))
            grain.append(float(outside.std()))
    assert min(levels) == 0
    assert max(levels) > 40
    assert 0.2 < np.mean(np.array(grain) > 1) < 0.9


def test_labels_outside_of_the_view_become_background() -> None:
    augment = Augment(replace(NO_AUGMENT, border=1.0), SIZE)
    for seed in range(20):
        view = drawn(seed).view
        _, labels = augment(IMAGE, MASK, seed)
        assert labels is not None
        assert np.array_equal(labels.numpy() == 2, view >= 128)
        assert set(labels.unique().tolist()) <= {0, 2}


def test_what_a_turn_brings_in_is_ignored_inside_of_the_view_alone() -> None:
    augment = Augment(AugmentConfig(border=1.0, rotate=90, scale=(0.5, 0.6)), SIZE)
    for seed in range(20):
        view = drawn(seed).view
        _, labels = augment(IMAGE, MASK, seed)
        assert labels is not None
        assert (labels.numpy()[view < 128] == 0).all()
        assert set(labels.numpy()[view >= 128].tolist()) <= {2, 255}


def test_the_inside_of_the_view_is_as_without_a_border() -> None:
    plain, bordered = (Augment(AugmentConfig(border=p, blur=0), SIZE) for p in (0.0, 1.0))
    for seed in range(10):
        inside = drawn(seed).view == 255
        before, with_border = plain(IMAGE, MASK, seed), bordered(IMAGE, MASK, seed)
        assert torch.equal(before[0][:, inside], with_border[0][:, inside])
        again = bordered(IMAGE, MASK, seed)
        assert torch.equal(with_border[0], again[0])
        assert torch.equal(with_border[1], again[1])
        assert not torch.equal(before[0], with_border[0]) or inside.all()


def test_the_probability_is_kept() -> None:
    count = sum(draw_border(0.3, SIZE, aspect=1, seed=s) is not None for s in range(400))
    assert 90 < count < 150
    assert draw_border(0.0, SIZE, aspect=1, seed=0) is None


def test_the_setting_wins_over_the_augmentation(tmp_path: Path) -> None:
    frames = open_frames(image_and_mask_folder(tmp_path))

    def probability(augmentation: str, border: float | None) -> float:
        data = TrainData(
            labelled=frames,
            validation=frames,
            batch_size=2,
            seed=0,
            augmentation=augmentation,
            border=border,
        )
        stream = frames_stream(data, frames, size=SIZE, name="labelled")
        return stream.spec.augment.config.border

    for name, config in AUGMENTATIONS.items():
        assert probability(name, None) == config.border
    assert probability("light", 0.75) == 0.75
    assert probability("full", 0.0) == 0
    with pytest.raises(ConfigError, match="augmentation is none"):
        DataConfig(augmentation="none", border=0.5)
