"""Readers of photographs: layouts, crops, and sets that would spoil training."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

from trocar.contract.errors import ConfigError, DataError
from trocar.contract.media.crops import crop_window
from trocar.train.data.classification.open import open_photo_sets, with_splits
from trocar.train.data.classification.readers import open_photos
from trocar.train.data.classification.statistics import (
    check_duplicates,
    class_statistics,
    long_tailed,
    plot_tail,
    tail_counts,
)
from trocar.train.data.config import DataConfig, DatasetPaths
from trocar.train.state.settings import RunConfig

THREE = ("grasper", "scissors", "hook")


def test_class_folders_with_and_without_splits(photo_kit: ModuleType, tmp_path: Path) -> None:
    photo_kit.write_folders(tmp_path / "a", dict.fromkeys(THREE, 2))
    photo_kit.write_folders(tmp_path / "a", dict.fromkeys(THREE, 1), split="valid", first=9)
    photos = open_photos(tmp_path / "a")
    assert photos.table.names == tuple(sorted(THREE))
    assert {split: len(names) for split, names in photos.splits.items()} == {"train": 6, "val": 3}
    photo = photos.subset("val").items[0]
    assert np.array_equal(photos.read(photo), photo_kit.picture(photos.table[photo.label].name, 9))
    shutil.copytree(tmp_path / "a" / "train", tmp_path / "b")
    (tmp_path / "b" / "hook" / "notes.txt").write_text("no picture")
    plain = open_photos(tmp_path / "b")
    assert plain.counts.tolist() == [2, 2, 2]
    assert not plain.splits
    assert "1 files are not images" in plain.notes[0]


def test_a_split_under_an_unknown_name_is_said(photo_kit: ModuleType, tmp_path: Path) -> None:
    photo_kit.write_folders(tmp_path / "a", dict.fromkeys(THREE, 1), split="train")
    photo_kit.write_folders(tmp_path / "a", dict.fromkeys(THREE, 1), split="vald", first=9)
    (tmp_path / "a" / "notes").mkdir()
    with pytest.raises(DataError, match=r"vald: holds class folders.*train.*val") as refused:
        open_photos(tmp_path / "a")
    assert "notes" not in str(refused.value)
    photo_kit.write_yolo(tmp_path / "b", THREE, 1)
    (tmp_path / "b" / "train").rename(tmp_path / "b" / "trian")
    with pytest.raises(DataError, match=r"trian: holds images and labels.*train"):
        open_photos(tmp_path / "b")


def test_yolo_boxes_become_crops(photo_kit: ModuleType, tmp_path: Path) -> None:
    photos = open_photos(photo_kit.write_yolo(tmp_path, THREE, 2))
    assert photos.table.names == THREE
    assert {split: len(names) for split, names in photos.splits.items()} == {"train": 6, "val": 6}
    crop = photos.read(photos.items[0])
    # A 72 pixel box and a tenth of surroundings on each side.
    assert crop.shape == (86, 86, 3)
    assert np.array_equal(crop[7:79, 7:79], photo_kit.picture(THREE[0], 0))


@pytest.mark.parametrize("line", ["7 0.5 0.5 0.2 0.2", "0 0.5 0.5 0.2", "0 0.5 x 0.2 0.2"])
def test_a_bad_yolo_line_is_named(photo_kit: ModuleType, tmp_path: Path, line: str) -> None:
    photo_kit.write_yolo(tmp_path, THREE, 1)
    (tmp_path / "train" / "labels" / "0_0.txt").write_text(line)
    with pytest.raises(DataError, match=r"0_0\.txt: line 1"):
        open_photos(tmp_path)


def test_instances_of_segmented_frames_become_crops(photo_kit: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "classes.toml").write_text(
        "".join(
            f'[[classes]]\nid = {i}\nname = "{name}"\ninstrument = {str(i > 0).lower()}\n'
            for i, name in enumerate(("background", "grasper", "scissors"))
        )
    )
    mask = np.zeros((60, 80), np.uint8)
    mask[10:20, 10:30], mask[30:50, 50:60], mask[40:50, 5:15] = 1, 2, 1
    mask[0, 0] = 2  # too small to be an instrument
    photo_kit.write(tmp_path / "images" / "f.png", np.full((60, 80, 3), 80, np.uint8))
    (tmp_path / "masks").mkdir()
    assert cv2.imwrite(str(tmp_path / "masks" / "f.png"), mask)
    photos = open_photos(tmp_path)
    assert [photos.table[p.label].name for p in photos] == ["grasper", "grasper", "scissors"]
    assert photos.items[2].box == (50 / 80, 30 / 60, 60 / 80, 50 / 60)


def test_omniglot_straight_from_its_archives(photo_kit: ModuleType, tmp_path: Path) -> None:
    photos = open_photos(photo_kit.write_omniglot(tmp_path, list(photo_kit.KINDS), 3))
    # Both archives hold the same characters; each counts once.
    assert photos.counts.tolist() == [3] * 6
    assert {p.group for p in photos} == {"Alphabet0", "Alphabet1", "Alphabet2"}
    assert photos.read(photos.items[0]).shape == (40, 40, 3)


def test_the_real_sets_are_read(samples: Path) -> None:
    tools = open_photos(samples / "surgical_tools")
    assert tools.counts.tolist() == [90] * 18
    assert {s: len(n) for s, n in tools.splits.items()} == {"train": 1080, "val": 270, "test": 270}
    letters = open_photos(samples / "omniglot_small")
    assert len(letters) == 4840
    assert len(letters.table) == 242
    assert letters.read(letters.items[0]).shape == (105, 105, 3)
    instances = open_photos(samples / "cholec_instance_seg_sample")
    assert dict(zip(instances.table.names, instances.counts, strict=True)) == {
        "grasper": 17,
        "hook": 6,
    }


def test_one_class_is_no_set(photo_kit: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1 class"):
        open_photos(photo_kit.write_folders(tmp_path, {"hook": 3}))


def test_names_that_read_alike_or_hold_odd_characters(
    photo_kit: ModuleType, tmp_path: Path
) -> None:
    for root, names in ((tmp_path / "a", ("Hook", "hook")), (tmp_path / "b", ("ho\tok", "saw"))):
        for name in names:
            photo_kit.write(root / name / "1.png", photo_kit.picture("hook", 1))
    with pytest.raises(DataError, match="read alike"):
        open_photos(tmp_path / "a")
    with pytest.raises(DataError, match="unprintable"):
        open_photos(tmp_path / "b")


def test_an_empty_class_and_an_empty_set(photo_kit: ModuleType, tmp_path: Path) -> None:
    photo_kit.write_folders(tmp_path, {"hook": 1, "grasper": 1})
    (tmp_path / "train" / "saw").mkdir()
    with pytest.raises(DataError, match="no photograph of 'saw'"):
        open_photos(tmp_path)


def test_a_corrupt_photograph_is_named(photo_kit: ModuleType, tmp_path: Path) -> None:
    photo_kit.write_folders(tmp_path, {"hook": 1, "grasper": 1})
    bad = tmp_path / "train" / "hook" / "000.png"
    bad.write_bytes(bad.read_bytes()[:200])
    photos = open_photos(tmp_path)
    with pytest.raises(DataError, match=r"000\.png"):
        photos.read(next(p for p in photos if p.file == bad))


def test_copies_across_classes_and_splits_are_refused(
    photo_kit: ModuleType, tmp_path: Path
) -> None:
    photo_kit.write_folders(tmp_path, {"hook": 2, "grasper": 2})
    folder = tmp_path / "train"
    shutil.copy(folder / "hook" / "000.png", folder / "hook" / "copy.png")
    assert "1 photographs are copies" in check_duplicates(open_photos(tmp_path)).notes[-1]
    shutil.copytree(folder, tmp_path / "val")
    with pytest.raises(DataError, match="splits train and val"):
        check_duplicates(open_photos(tmp_path))
    shutil.rmtree(tmp_path / "val")
    shutil.copy(folder / "hook" / "000.png", folder / "grasper" / "copy.png")
    with pytest.raises(DataError, match="classes 'grasper' and 'hook'"):
        check_duplicates(open_photos(tmp_path))


def test_splits_take_the_same_share_of_every_class(photo_kit: ModuleType, tmp_path: Path) -> None:
    photo_kit.write_folders(tmp_path, {"hook": 10, "grasper": 5, "scissors": 1}, split=".")
    photos = with_splits(open_photos(tmp_path), 0.2)
    assert photos.subset("val").counts.tolist() == [1, 2, 0]
    assert photos.subset("train").counts.tolist() == [4, 8, 1]
    assert not set(photos.splits["train"]) & set(photos.splits["val"])


def test_classifiers_take_no_unlabelled_set(toy_folder: Path, make_classifier: Any) -> None:
    paths = DatasetPaths(data=toy_folder, unlabelled=toy_folder)
    with pytest.raises(ConfigError, match="takes no --unlabelled"):
        open_photo_sets(paths, DataConfig(), RunConfig(), make_classifier("classifier"))


def test_a_long_tail_falls_by_the_factor(photo_kit: ModuleType, tmp_path: Path) -> None:
    assert tail_counts(60, 3, 30) == (60, 11, 2)
    photos = open_photos(photo_kit.write_folders(tmp_path, dict.fromkeys(photo_kit.KINDS, 12)))
    tailed = long_tailed(photos, factor=6, seed=3)
    statistics = class_statistics(tailed)
    assert statistics.counts == tail_counts(12, 6, 6)
    assert statistics.imbalance == 6
    assert 0 < statistics.gini < 1
    assert long_tailed(photos, factor=6, seed=3).items == tailed.items
    assert long_tailed(photos, factor=6, seed=4).items != tailed.items
    assert class_statistics(photos).gini == pytest.approx(0)
    plot_tail(tailed, tmp_path / "tail.png", head=[0])
    assert cv2.imread(str(tmp_path / "tail.png")) is not None


def test_crop_windows_stay_in_the_frame() -> None:
    assert crop_window((40, 30, 80, 50), (480, 640)) == (36, 16, 84, 64)
    assert crop_window((0, 0, 20, 20), (480, 640)) == (0, 0, 24, 24)
    assert crop_window((600, 100, 640, 480), (480, 640)) == (184, 24, 640, 480)
    for box in ((0, 0, 640, 480), (630, 470, 640, 480), (5, 5, 5, 5)):
        x0, y0, x1, y1 = crop_window(box, (480, 640))
        assert 0 <= x0 < x1 <= 640
        assert 0 <= y0 < y1 <= 480
