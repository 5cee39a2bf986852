"""Image-and-mask folders in the forms in which people bring them."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from data_helpers import TABLE, image_and_mask_folder, labels, picture

from trocar.commands.data import data
from trocar.contract.classes import ClassTable
from trocar.contract.errors import DataError
from trocar.contract.media.pictures import write_picture
from trocar.train.data.io.images import read_raw_mask
from trocar.train.data.readers import open_frames, scan_frames
from trocar.train.data.tools.check import check_frames


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return image_and_mask_folder(tmp_path / "set")


@pytest.mark.parametrize("name", ["valid", "val", "Validation"])
def test_folders_named_as_splits_are_splits(tmp_path: Path, name: str) -> None:
    for split, count in (("train", 3), (name, 2), ("test", 1)):
        for i in range(count):
            for kind, made in (("images", picture(i)), ("masks", labels(i))):
                write_picture(tmp_path / kind / split / f"{split}{i}" / "f.png", made)
    TABLE.write(tmp_path / "classes.toml")
    frames = open_frames(tmp_path)
    assert {split: len(names) for split, names in frames.splits.items()} == {
        "train": 3, "val": 2, "test": 1,
    }  # fmt: skip
    assert {item.name for item in frames.subset("val")} == {f"{name}/{name}{i}/f" for i in range(2)}
    assert "train0" in frames.groups


def test_lists_win_over_folders_named_as_splits(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_picture(tmp_path / "images" / split / "f.png", picture(0))
        write_picture(tmp_path / "masks" / split / "f.png", labels(0))
    TABLE.write(tmp_path / "classes.toml")
    (tmp_path / "train.txt").write_text("val/f\n")
    (tmp_path / "val.txt").write_text("train/f.png\n")
    frames = open_frames(tmp_path)
    assert frames.splits == {"train": ("val/f",), "val": ("train/f",)}


def test_folders_with_other_names_are_groups(tmp_path: Path) -> None:
    for name in ("train", "case7"):
        write_picture(tmp_path / "images" / name / "f.png", picture(0))
        write_picture(tmp_path / "masks" / name / "f.png", labels(0))
    TABLE.write(tmp_path / "classes.toml")
    frames = open_frames(tmp_path)
    assert frames.splits == {}
    assert frames.groups == ("case7", "train")


@pytest.mark.parametrize("name", ["gt", "SegmentationClass", "ground_truth", "my outlines"])
def test_masks_under_another_name_are_a_fault(root: Path, name: str) -> None:
    (root / "masks").rename(root / name)
    (fault,) = [f for f in scan_frames(root)[0].faults if f.file.name == name]
    assert fault.text == "may hold the masks; rename it to masks/"


def test_masks_under_another_name_without_a_table_are_a_fault(root: Path) -> None:
    (root / "masks").rename(root / "gt")
    (root / "classes.toml").unlink()
    assert any(f.file.name == "gt" for f in scan_frames(root)[0].faults)


def test_links_to_folders_are_followed_once(root: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "disk"
    for kind in ("images", "masks"):
        (elsewhere / kind).mkdir(parents=True)
        (root / kind).rename(elsewhere / kind / "op2")
        (root / kind).mkdir()
        (root / kind / "op2").symlink_to(elsewhere / kind / "op2")
        (elsewhere / kind / "op2" / "back").symlink_to(root / kind)
    shutil.rmtree(root / "splits")
    frames = open_frames(root)
    assert [item.name for item in frames] == [f"op2/f{i}" for i in range(4)]
    assert frames.groups == ("op2",)


@pytest.mark.parametrize("form", ["jpg", "smoothed"])
def test_masks_near_their_values_are_read_where_that_is_asked(root: Path, form: str) -> None:
    for file in sorted((root / "masks").glob("*.png")):
        mask = (read_raw_mask(file).values > 0).astype(np.uint8) * 255
        large = cv2.resize(mask, (96, 72), interpolation=cv2.INTER_NEAREST)
        write_picture(root / "images" / file.name, picture(0, 72, 96))
        if form == "jpg":
            file.unlink()
            write_picture(file.with_suffix(".jpg"), cv2.cvtColor(large, cv2.COLOR_GRAY2RGB))
        else:
            write_picture(file, cv2.blur(large, (3, 3)))
    ClassTable.from_names(["background", "instrument"]).write(root / "classes.toml")
    values = '[values]\n0 = "background"\n255 = "instrument"\n'
    (root / "dataset.toml").write_text(values)
    frames = open_frames(root)
    with pytest.raises(DataError, match="has values that no class has"):
        frames.read(frames.items[0])
    (root / "dataset.toml").write_text("nearest = true\n" + values)
    frames = open_frames(root)
    for item in frames:
        mask = frames.read(item).mask
        assert mask is not None
        raw = read_raw_mask(item.mask).values
        grey = raw if raw.ndim == 2 else raw[..., 0]
        np.testing.assert_array_equal(mask, grey > 127)


def test_nearest_values_are_no_way_to_read_colours(root: Path) -> None:
    for file in (root / "masks").glob("*.png"):
        write_picture(file, picture(3))
    (root / "dataset.toml").write_text('nearest = true\n[values]\n255 = "grasper"\n')
    frames = open_frames(root)
    with pytest.raises(DataError, match="is coloured"):
        frames.read(frames.items[0])
    (root / "dataset.toml").write_text('nearest = "yes"\n')
    with pytest.raises(DataError, match="nearest is 'yes', expected true or false"):
        open_frames(root)


def test_nearest_values_need_values(root: Path) -> None:
    (root / "dataset.toml").write_text("nearest = true\n")
    with pytest.raises(DataError, match=r"nearest = true needs \[values\]") as caught:
        open_frames(root)
    assert '[values] 255 = "scissors"' in caught.value.remedy


@pytest.mark.parametrize("nearest", [False, True])
def test_black_stays_background_where_values_do_not_say(root: Path, nearest: bool) -> None:
    file = sorted((root / "masks").glob("*.png"))[0]
    mask = np.zeros_like(read_raw_mask(file).values)
    mask[4:20, 4:20] = 38
    write_picture(file, mask)
    settings = ("nearest = true\n" if nearest else "") + '[values]\n38 = "grasper"\n'
    (root / "dataset.toml").write_text(settings)
    frames = open_frames(root)
    (read,) = [frames.read(item).mask for item in frames if item.mask == file]
    np.testing.assert_array_equal(read, (mask == 38) * 1)


def test_black_is_no_background_where_another_value_is(root: Path) -> None:
    file = sorted((root / "masks").glob("*.png"))[0]
    mask = np.full_like(read_raw_mask(file).values, 50)
    mask[0, 0] = 0
    write_picture(file, mask)
    (root / "dataset.toml").write_text('[values]\n50 = "background"\n38 = "grasper"\n')
    frames = open_frames(root)
    (item,) = [item for item in frames if item.mask == file]
    with pytest.raises(DataError, match=r"0 \(1 pixels\); expected 38, 50, 255"):
        frames.read(item)


def test_the_check_says_how_smoothed_masks_are_read(root: Path) -> None:
    for file in (root / "masks").glob("*.png"):
        white = (read_raw_mask(file).values > 0).astype(np.uint8) * 255
        write_picture(file, cv2.GaussianBlur(white, (5, 5), 0))
    faults = check_frames(root).faults
    assert faults
    assert all("nearest = true" in fault.remedy for fault in faults)
    done = CliRunner().invoke(data, ["check", str(root)])
    assert isinstance(done.exception, DataError)
    assert "nearest = true, if the masks are smoothed or JPEG" in done.exception.remedy


def test_white_masks_that_are_read_as_ignored_are_a_fault(root: Path) -> None:
    for file in (root / "masks").glob("*.png"):
        write_picture(file, (read_raw_mask(file).values > 0).astype(np.uint8) * 255)
    (fault,) = check_frames(root).faults
    assert "no pixel is of grasper, scissors" in fault.text
    assert '[values] 255 = "grasper"' in fault.text
    (root / "dataset.toml").write_text('[values]\n0 = "background"\n255 = "grasper"\n')
    assert check_frames(root).faults == ()


def test_own_lists_beside_images_are_not_taken_for_kvasir(root: Path) -> None:
    shutil.rmtree(root / "splits")
    (root / "train.txt").write_text("f0\nf1\nf2\n")
    (root / "test.txt").write_text("f3\n")
    frames = open_frames(root)
    assert frames.table.names == TABLE.names
    assert frames.splits == {"train": ("f0", "f1", "f2"), "test": ("f3",)}


def test_ids_with_gaps_are_told_the_way_out(root: Path) -> None:
    (root / "classes.toml").write_text(
        "".join(f'[[classes]]\nid = {i}\nname = "c{i}"\n' for i in (0, 3, 17))
    )
    with pytest.raises(DataError, match=r"ids are \[0, 3, 17\].*dataset\.toml: \[values\] 17 ="):
        open_frames(root)


def test_white_of_a_colour_table_is_the_class_and_not_ignored(root: Path) -> None:
    for file in (root / "masks").glob("*.png"):
        white = (read_raw_mask(file).values > 0).astype(np.uint8) * 255
        write_picture(file, np.repeat(white[..., None], 3, 2))
    (root / "classes.toml").write_text(
        '[[classes]]\nid = 0\nname = "background"\ncolour = [0, 0, 0]\n'
        '[[classes]]\nid = 1\nname = "tool"\ncolour = [255, 255, 255]\ninstrument = true\n'
    )
    report = check_frames(root)
    assert report.faults == ()
    assert report.ignored == 0
    assert report.pixels[1] > 0


def test_a_validation_split_without_classes_is_a_fault(root: Path) -> None:
    write_picture(root / "masks" / "f3.png", np.zeros((24, 32), np.uint8))
    (fault,) = check_frames(root).faults
    assert "none of the 1 frames of split 'val' shows a class of the table" in fault.text
