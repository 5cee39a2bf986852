"""Image-and-mask folders: what is read, and what bad input gets."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from data_helpers import TABLE, image_and_mask_folder, labels, picture
from PIL import Image

from trocar.commands.data import data
from trocar.contract.classes import ClassTable
from trocar.contract.errors import DataError
from trocar.contract.media.pictures import read_image, write_picture
from trocar.train.data.io.images import read_raw_mask
from trocar.train.data.io.masks import ids_from_table
from trocar.train.data.readers import open_frames, scan_frames
from trocar.train.data.tools.check import CheckReport, check_frames


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return image_and_mask_folder(tmp_path / "set")


def only_fault(root: Path) -> str:
    report = check_frames(root)
    assert len(report.faults) == 1, report.faults
    return str(report.faults[0])


def test_frames_masks_and_splits_are_read(root: Path) -> None:
    frames = open_frames(root)
    assert [item.name for item in frames] == ["f0", "f1", "f2", "f3"]
    assert [item.name for item in frames.subset("val")] == ["f3"]
    sample = frames.read(frames.items[2])
    assert np.array_equal(sample.image, picture(2))
    assert sample.mask is not None
    assert np.array_equal(sample.mask, labels(2))
    assert frames.table == TABLE
    assert len(frames.labelled()) == 4
    assert len(frames.unlabelled()) == 0


def test_a_good_set_has_no_faults_and_right_counts(root: Path) -> None:
    report = check_frames(root)
    assert report.faults == ()
    expected = sum((np.bincount(labels(i).ravel(), minlength=3) for i in range(4)), np.zeros(3))
    assert report.pixels.tolist() == expected.tolist()
    assert report.shares.sum() == pytest.approx(1)
    assert report.counts[0] == 4
    assert report.splits == {"train": 3, "val": 1}
    assert report.sizes == {(24, 32): 4}


def test_missing_and_orphan_masks(root: Path) -> None:
    (root / "masks" / "f1.png").unlink()
    write_picture(root / "masks" / "extra.png", labels(0))
    texts = [str(fault) for fault in check_frames(root).faults]
    assert any("images/f1.png: has no mask masks/f1.png" in text for text in texts)
    assert any("masks/extra.png: is the mask of no image" in text for text in texts)
    with pytest.raises(DataError, match=r"\d faults\n.*f1\.png: has no mask"):
        open_frames(root)


def test_unreadable_images_are_all_named(root: Path) -> None:
    whole = (root / "images" / "f0.png").read_bytes()
    (root / "images" / "f0.png").write_bytes(whole[: len(whole) // 2])
    (root / "images" / "f1.png").write_bytes(b"")
    (root / "images" / "f2.png").write_bytes(b"this is no picture, whatever its name says")
    texts = {fault.file.name: fault.text for fault in check_frames(root).faults}
    assert "truncated" in texts["f0.png"]
    assert "empty (0 bytes)" in texts["f1.png"]
    assert "cannot be decoded" in texts["f2.png"]
    assert len(texts) == 3


def test_a_truncated_jpeg_is_no_picture(tmp_path: Path) -> None:
    file = tmp_path / "a.jpg"
    cv2.imwrite(str(file), picture(0, 200, 300))
    assert read_image(file).shape == (200, 300, 3)
    file.write_bytes(file.read_bytes()[:-3000])
    with pytest.raises(DataError, match="truncated"):
        read_image(file)


def test_a_mask_of_another_size(root: Path) -> None:
    write_picture(root / "masks" / "f2.png", labels(0, 20, 30))
    assert "masks/f2.png: is 30x20, its image f2.png is 32x24" in only_fault(root)


def test_unknown_values_are_named_with_their_pixels(root: Path) -> None:
    mask = labels(0)
    mask[0, :5] = 7
    mask[1, :3] = 200
    mask[2, :2] = 255  # ignored: no fault
    write_picture(root / "masks" / "f0.png", mask)
    text = only_fault(root)
    assert "masks/f0.png: has values that no class has: 7 (5 pixels), 200 (3 pixels)" in text
    frames = open_frames(root)
    with pytest.raises(DataError, match=r"f0\.png has values") as error:
        frames.read(frames.items[0])
    assert "dataset.toml" in error.value.remedy


def test_values_can_be_mapped(root: Path) -> None:
    write_picture(root / "masks" / "f0.png", np.full((24, 32), 38, np.uint8))
    (root / "dataset.toml").write_text(
        'name = "theatre"\n[values]\n0="background"\n1="grasper"\n2="scissors"\n38="scissors"\n'
    )
    frames = open_frames(root)
    assert frames.name == "theatre"
    mask = frames.read(frames.items[0]).mask
    assert mask is not None
    assert np.unique(mask).tolist() == [2]
    (root / "dataset.toml").write_text('[values]\n38="scisors"\n900="grasper"\n')
    with pytest.raises(DataError, match=r"'scisors' is no class.*'900' is no mask value"):
        open_frames(root)


def test_colour_rgba_palette_and_small_masks_are_read(tmp_path: Path) -> None:
    ids = labels(3)
    file = tmp_path / "m.png"
    colours = TABLE.colours[ids]

    def decoded() -> list[int]:
        return ids_from_table(read_raw_mask(file), TABLE, path=file).ravel().tolist()  # type: ignore[no-any-return]

    Image.fromarray(colours).save(file)
    assert decoded() == ids.ravel().tolist(), "RGB"
    Image.fromarray(np.dstack([colours, np.full(ids.shape, 255, np.uint8)])).save(file)
    assert decoded() == ids.ravel().tolist(), "opaque RGBA"
    Image.fromarray(np.dstack([ids] * 3)).save(file)
    assert decoded() == ids.ravel().tolist(), "ids in three channels"
    # A palette of arbitrary order whose colours are the table's: the colours count.
    shuffled = Image.fromarray(np.array([2, 0, 1], np.uint8)[ids], mode="P")
    shuffled.putpalette(TABLE.colours[[1, 2, 0]].ravel().tolist())
    shuffled.save(file)
    assert decoded() == ids.ravel().tolist(), "palette by colour"
    other = Image.fromarray(ids, mode="P")
    other.putpalette([9, 9, 9, 200, 0, 0, 0, 200, 0])
    other.save(file)
    assert decoded() == ids.ravel().tolist(), "palette by index"
    Image.fromarray(ids == 1).save(file)  # one bit a pixel
    assert decoded() == (ids == 1).astype(int).ravel().tolist()
    Image.fromarray(ids.astype(np.uint16)).save(file)
    assert decoded() == ids.ravel().tolist(), "16 bits"
    Image.fromarray(np.dstack([ids, np.full(ids.shape, 255, np.uint8)]), mode="LA").save(file)
    assert decoded() == ids.ravel().tolist(), "grey and alpha"


def test_what_cannot_be_known_of_a_mask_is_refused(root: Path) -> None:
    colours = TABLE.colours[labels(0)]
    alpha = np.full((24, 32), 255, np.uint8)
    alpha[:2] = 0
    Image.fromarray(np.dstack([colours, alpha])).save(root / "masks" / "f0.png")
    assert "64 of its pixels are not opaque" in only_fault(root)
    colours[0, :4] = (1, 2, 3)
    Image.fromarray(colours).save(root / "masks" / "f0.png")
    assert "colours that no class has: (1, 2, 3) (4 pixels)" in only_fault(root)
    Image.fromarray(np.full((24, 32), 300, np.uint16)).save(root / "masks" / "f0.png")
    assert "values up to 300" in only_fault(root)


def test_empty_splits_and_unknown_names(root: Path) -> None:
    (root / "splits" / "val.txt").write_text("\n")
    (root / "splits" / "test.txt").write_text("f9\nf0.png\n")
    texts = [str(fault) for fault in check_frames(root).faults]
    assert any("val.txt: split 'val' is empty" in text for text in texts)
    assert any("test.txt: names 'f9', which is not a frame of the set" in text for text in texts)
    assert any("'f0' is in split 'train' too" in text for text in texts)
    with pytest.raises(DataError, match=r"'val' is empty"):
        open_frames(root)


def test_a_split_that_is_not_there(root: Path) -> None:
    with pytest.raises(DataError, match=r"no split 'test'; it has train, val"):
        open_frames(root).subset("test")


def test_leakage_of_a_group_is_refused(root: Path) -> None:
    for old, new in [("f0", "case1_a"), ("f1", "case2_a"), ("f2", "case2_b"), ("f3", "case1_b")]:
        for folder in ("images", "masks"):
            (root / folder / f"{old}.png").rename(root / folder / f"{new}.png")
    (root / "dataset.toml").write_text('group = "^(case[0-9]+)_"\n')
    (root / "splits" / "train.txt").write_text("case1_a\ncase2_a\n")
    (root / "splits" / "val.txt").write_text("case1_b\n")
    (root / "splits" / "test.txt").write_text("case2_b\n")
    with pytest.raises(
        DataError, match="leakage: group 'case1' of split 'train' is in split 'val'"
    ):
        open_frames(root)
    (root / "splits" / "val.txt").write_text("case2_b\n")
    (root / "splits" / "train.txt").write_text("case1_a\ncase1_b\n")
    (root / "splits" / "test.txt").unlink()
    assert open_frames(root).groups == ("case1", "case2")


def test_sub_folders_are_groups(root: Path) -> None:
    for folder in ("images", "masks"):
        (root / folder / "op1").mkdir()
        (root / folder / "f0.png").rename(root / folder / "op1" / "f0.png")
    shutil.rmtree(root / "splits")
    frames = open_frames(root)
    assert [(item.name, item.group) for item in frames][-1] == ("op1/f0", "op1")


def test_unlabelled_folders(tmp_path: Path, root: Path) -> None:
    plain = tmp_path / "plain"
    write_picture(plain / "a.png", picture(0))
    assert open_frames(plain).unlabelled().items[0].name == "a"
    shutil.rmtree(root / "masks")
    frames = open_frames(root)
    assert frames.read(frames.items[0]).mask is None
    empty = tmp_path / "empty"
    (empty / "images").mkdir(parents=True)
    with pytest.raises(DataError, match="there is no image in it"):
        open_frames(empty)


def test_a_set_without_class_table_says_how_to_write_one(root: Path) -> None:
    (root / "classes.toml").unlink()
    with pytest.raises(DataError, match=r"no class table classes\.toml") as error:
        open_frames(root)
    assert "[[classes]]" in error.value.remedy
    assert len(open_frames(root, table=TABLE)) == 4


def test_other_tasks_have_masks_and_tables_of_their_own(root: Path) -> None:
    for i in range(4):
        write_picture(root / "masks_parts" / f"f{i}.png", np.ones((24, 32), np.uint8))
    ClassTable.from_names(["background", "shaft"]).write(root / "classes_parts.toml")
    frames = open_frames(root, task="parts")
    assert frames.table.names == ("background", "shaft")
    with pytest.raises(DataError, match="no task 'kind'") as error:
        open_frames(root, task="kind")
    assert "parts" in error.value.remedy


def test_names_that_are_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no"):
        open_frames(tmp_path / "nowhere")
    file = tmp_path / "a.zip"
    file.write_bytes(b"PK")
    with pytest.raises(DataError, match="is a file"):
        open_frames(file)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.txt").write_text("x")
    with pytest.raises(
        DataError, match=r"(?s)tried\n.*EndoVis 2015 rigid: .*\n.*CholecInstanceSeg"
    ):
        open_frames(tmp_path / "docs")


def test_the_command_lists_every_fault_and_fails(root: Path) -> None:
    good = CliRunner().invoke(data, ["check", str(root)])
    assert good.exit_code == 0, good.output
    assert "grasper" in good.output
    assert "no faults" in good.output
    (root / "masks" / "f1.png").unlink()
    write_picture(root / "masks" / "f2.png", labels(0, 20, 30))
    (root / "images" / "f3.png").write_bytes(b"")
    bad = CliRunner().invoke(data, ["check", str(root)])
    assert isinstance(bad.exception, DataError)
    for name in ("f1.png", "f2.png", "f3.png"):
        assert name in bad.output


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("EndoVis 2017", ["task: binary; others by --task parts, type", "with instance maps"]),
        ("UW-Sinus", ["or takes --fold: 0: cadaver/S01; 1: cadaver/S02; 2: live/L01"]),
        ("CholecSeg8k", ["training draws whole groups for validation"]),
        ("Kvasir-Instrument", ["splits: train 4, test 1"]),
    ],
)
def test_the_command_says_which_tasks_and_folds_there_are(
    made: dict[str, Path], name: str, words: list[str]
) -> None:
    shown = " ".join(CliRunner().invoke(data, ["check", str(made[name])]).output.split())
    for word in words:
        assert word in shown


def test_the_report_as_json(root: Path) -> None:
    report: CheckReport = check_frames(root)
    as_dict = report.to_dict()
    assert (as_dict["tasks"], as_dict["folds"], as_dict["instances"]) == ([], [], False)
    assert as_dict["classes"][1]["name"] == "grasper"
    assert as_dict["splits"] == {"train": 3, "val": 1}
    assert as_dict["faults"] == []


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
    (root / "dataset.toml").write_text("nearest = true\n")
    frames = open_frames(root)
    with pytest.raises(DataError, match="is coloured"):
        frames.read(frames.items[0])
    (root / "dataset.toml").write_text('nearest = "yes"\n')
    with pytest.raises(DataError, match="nearest is 'yes', expected true or false"):
        open_frames(root)


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
