"""Other arrangements of published sets, and class folders without splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data_helpers import labels, picture
from numpy.typing import NDArray

from trocar.contract.errors import DataError
from trocar.contract.media.pictures import write_picture
from trocar.train.data.classification.readers import open_photos
from trocar.train.data.readers import LAYOUTS, open_frames, recognise, scan_frames
from trocar.train.data.tools.check import check_frames


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        (("",), {}),
        (("Train/", "Val/"), {"train": 4, "val": 4}),
        (("training/", "validation/", "testing/"), {"train": 4, "val": 4, "test": 4}),
    ],
)
def test_check_knows_the_class_folders_that_training_knows(
    splits: tuple[str, ...], expected: dict[str, int], tmp_path: Path
) -> None:
    for number, split in enumerate(splits):
        for i, name in enumerate(("hook/0", "hook/1", "grasper/0", "grasper/1")):
            write_picture(tmp_path / f"{split}{name}.png", picture(10 * number + i))
    assert recognise(tmp_path)[0] is LAYOUTS["class-folders"]
    report = check_frames(tmp_path)
    assert report.faults == ()
    assert report.frames == 4 * len(splits)
    assert report.splits == expected
    photos = open_photos(tmp_path)
    assert photos.table.names == report.classes.names
    assert {split: len(names) for split, names in photos.splits.items()} == expected


def test_folders_of_pictures_and_masks_are_no_class_folders(tmp_path: Path) -> None:
    for folder in ("img", "masks"):
        write_picture(tmp_path / folder / "0.png", picture(0))
    with pytest.raises(DataError, match="no known layout"):
        recognise(tmp_path)


@pytest.mark.parametrize(("task", "factor"), [("binary", 255), ("parts", 85), ("type", 32)])
def test_endovis_2017_as_ternausnet_crops_it(task: str, factor: int, tmp_path: Path) -> None:
    expected: dict[str, NDArray[np.uint8]] = {}
    for dataset in (1, 2):
        folder = tmp_path / f"instrument_dataset_{dataset}"
        for i in range(2):
            ids = labels(i, classes={"binary": 2, "parts": 4, "type": 8}[task])
            name = f"frame{i:03d}"
            write_picture(folder / "images" / f"{name}.jpg", picture(10 * dataset + i))
            for kind in ("binary_masks", "parts_masks", "instruments_masks"):
                own = {"binary": "binary", "parts": "parts", "type": "instruments"}[task]
                values = ids * np.uint8(factor) if kind.startswith(own) else ids * np.uint8(0)
                write_picture(folder / kind / f"{name}.png", values)
            expected[f"{folder.name}/{name}"] = ids
    report = check_frames(tmp_path, task=task)
    assert report.faults == ()
    assert report.layout.startswith("EndoVis 2017")
    frames = open_frames(tmp_path, task=task)
    assert frames.groups == ("instrument_dataset_1", "instrument_dataset_2")
    for item in frames:
        assert np.array_equal(frames.read(item).mask, expected[item.name])
    bad = tmp_path / "instrument_dataset_1"
    for kind in ("binary_masks", "parts_masks", "instruments_masks"):
        write_picture(bad / kind / "frame000.png", np.full((24, 32), 7, np.uint8))
    assert len(check_frames(tmp_path, task=task).faults) == 1


def test_sar_rarp50(tmp_path: Path) -> None:
    for number, video in enumerate(("train1/video_01", "train2/video_02", "test/video_41")):
        for i in range(2):
            name = f"{60 * i:09d}.png"
            write_picture(tmp_path / video / "rgb" / name, picture(10 * number + i))
            mask = labels(i, classes=10)
            write_picture(tmp_path / video / "segmentation" / name, mask)
    report = check_frames(tmp_path)
    assert report.faults == ()
    assert report.splits == {"test": 2, "train": 4}
    frames = open_frames(tmp_path)
    assert frames.name == "SAR-RARP50"
    assert len(frames.table) == 10
    assert frames.groups == ("video_41", "video_01", "video_02")
    item = next(item for item in frames if item.name == "train1/video_01/000000060")
    assert np.array_equal(frames.read(item).mask, labels(1, classes=10))
    (tmp_path / "test" / "video_42").mkdir()
    (tmp_path / "test" / "video_42" / "video_left.avi").write_bytes(b"film")
    (fault,) = scan_frames(tmp_path)[0].faults
    assert "has no rgb/; extract the frames" in fault.text


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (("train/0.png", "train_seg/0.png"), "Endoscapes without semseg"),
        (("image00.png", "mask00.png", "image01.png", "mask01.png"), "Dresden"),
        (("multilabel/03/image00.png", "multilabel/03/mask00_colon.png"), "multilabel part"),
    ],
)
def test_what_is_known_and_not_read_is_named(
    files: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    for number, name in enumerate(files):
        write_picture(tmp_path / name, picture(number))
    if words.startswith("Endoscapes"):
        (tmp_path / "train_seg" / "annotation_coco.json").write_text("{}")
    with pytest.raises(DataError, match=rf"{words}.*known and not read"):
        check_frames(tmp_path)
