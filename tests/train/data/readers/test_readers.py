"""Every reader on its exact layout, with each trap planted."""

from __future__ import annotations

import shutil
from pathlib import Path

import layouts
import numpy as np
import pytest
from data_helpers import picture

from trocar.contract.errors import ConfigError, DataError
from trocar.contract.media.pictures import write_picture
from trocar.train.data.readers import open_frames, recognise, scan_frames
from trocar.train.data.readers.endovis2015_robotic import snap
from trocar.train.data.sample import FrameSet
from trocar.train.data.tools.check import check_frames


def mask_of(frames: FrameSet, name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    sample = frames.read(next(item for item in frames if item.name == name))
    assert sample.mask is not None
    assert sample.mask.shape == sample.image.shape[:2]
    return sample.mask


@pytest.mark.parametrize("name", layouts.WRITERS)
def test_each_layout_is_recognised_and_reads_without_fault(
    name: str, made: dict[str, Path]
) -> None:
    reader, found = recognise(made[name])
    assert name == reader.NAME
    assert found.why
    for task in reader.TASKS:
        scan, words = scan_frames(made[name], task=task)
        assert scan.faults == ()
        assert name in words
        assert len(scan.frames)
        sample = scan.frames.read(scan.frames.items[0])
        assert sample.image.dtype == np.uint8
        if sample.mask is not None:
            labels = set(np.unique(sample.mask).tolist()) - {255}
            assert labels <= set(range(len(scan.frames.table)))
            assert max(labels) > 0
    with pytest.raises(ConfigError, match="no task 'colour'"):
        open_frames(made[name], task="colour")


def test_endovis2015_rigid(made: dict[str, Path]) -> None:
    frames = open_frames(made["EndoVis 2015 rigid"])
    assert frames.groups == ("OP1", "OP4")
    plain, from_rgba = mask_of(frames, "OP1/img_01"), mask_of(frames, "OP4/img_14")
    assert np.array_equal(plain, from_rgba)
    assert [np.unique(plain[30, x]).item() for x in (10, 40, 70)] == [0, 1, 2]
    fold = frames.fold(1)
    assert {item.group for item in fold.subset("val")} == {"OP4"}
    assert {item.group for item in fold.subset("train")} == {"OP1"}
    with pytest.raises(DataError, match="2 folds, got fold 2"):
        frames.fold(2)
    binary = open_frames(made["EndoVis 2015 rigid"], task="binary")
    assert np.array_equal(mask_of(binary, "OP1/img_01"), plain > 0)


def test_endovis2015_robotic_snaps_and_joins(made: dict[str, Path]) -> None:
    frames = open_frames(made["EndoVis 2015 robotic"])
    assert len(frames) == 8
    one, two = mask_of(frames, "Dataset1/000002"), mask_of(frames, "Dataset2/000003")
    assert set(np.unique(two).tolist()) == {0, 1, 2}
    assert two[200, 150] == 1  # shaft of the left tool
    assert two[200, 250] == 2  # its manipulator
    assert two[420, 500] == 1  # the right tool
    assert one[420, 500] == 0
    values = np.array([0, 34, 36, 70, 114, 116, 160, 255], np.uint8)
    assert snap(values).tolist() == [0, 0, 2, 2, 2, 1, 1, 1]
    back = frames.read(frames.items[1]).image  # backwards in the video
    assert np.abs(back.astype(int) - picture(1, 576, 720)).mean() < 6


@pytest.mark.parametrize("above", [False, True])
def test_endovis2015_robotic_reads_masks_of_the_testing_folder(above: bool, tmp_path: Path) -> None:
    root = layouts.endovis2015_robotic_testing(tmp_path / "set", above=above)
    frames = open_frames(root)
    assert frames.groups == ("Dataset1", "Dataset5")
    assert len(frames) == 6
    two, one = frames.items[1], frames.items[4]
    mask = frames.read(two).mask
    assert mask is not None
    assert [mask[18, 8], mask[18, 28], mask[22, 28], mask[4, 4]] == [1, 2, 1, 0]
    numbers = frames.instance_map(two, (48, 64))
    assert numbers is not None
    assert [numbers[18, 8], numbers[18, 28], numbers[22, 28], numbers[4, 4]] == [1, 1, 2, 0]
    single = frames.instance_map(one, (48, 64))
    assert single is not None
    assert np.unique(single).tolist() == [0, 1]


def test_endovis2015_robotic_names_a_mask_video_that_neither_place_has(tmp_path: Path) -> None:
    root = layouts.endovis2015_robotic_testing(tmp_path / "set")
    (root / "GT" / "Dataset5" / "Segmentation.avi").unlink()
    (root / "GT" / "Dataset1" / "Left_Instrument_Segmentation.avi").unlink()
    with pytest.raises(DataError, match="2 faults") as error:
        open_frames(root)
    assert "GT/Dataset1/Left_Instrument_Segmentation.avi: is missing" in error.value.message
    assert "Dataset5/Segmentation.avi: is missing, and GT/Dataset5 holds no" in error.value.message


def test_endovis2017_crops_joins_and_names(made: dict[str, Path]) -> None:
    root = made["EndoVis 2017"]
    parts = mask_of(open_frames(root, task="parts"), "instrument_dataset_1/frame000")
    assert parts.shape == (1024, 1280)
    assert parts[100, 100] == 1  # row 128, column 420 of the frame
    assert parts[99, 100] == 0
    assert parts[300, 100] == 2
    assert parts[100, 1080] == 3  # the claspers end at the view's right border
    assert parts[100, 1279] == 3
    assert parts[650, 700] == 1  # the other instrument's shaft
    assert parts[700, 700] == 255  # and its part that is none of the three
    types = mask_of(open_frames(root, task="type"), "instrument_dataset_1/frame000")
    assert [types[100, 100], types[700, 700], types[100, 1100]] == [1, 7, 3]
    from_rgb = mask_of(open_frames(root, task="type"), "instrument_dataset_7/frame001")
    assert np.array_equal(from_rgb, types)
    binary = mask_of(open_frames(root), "instrument_dataset_7/frame001")
    assert np.array_equal(binary, types > 0)
    image = open_frames(root).read(open_frames(root).items[0]).image
    assert (image == (90, 40, 30)).all()
    assert open_frames(root).folds == ()  # two of eight: the folds cannot be made


def test_endovis2017_has_its_four_folds(tmp_path: Path) -> None:
    for n in range(1, 9):
        folder = tmp_path / f"instrument_dataset_{n}"
        write_picture(folder / "left_frames" / "frame000.png", picture(n))
        write_picture(folder / "ground_truth" / "Other" / "frame000.png", picture(n)[..., 0])
    frames = open_frames(tmp_path)
    held = [{item.group[-1] for item in frames.fold(i).subset("val")} for i in range(4)]
    assert held == [{"1", "3"}, {"2", "5"}, {"4", "8"}, {"6", "7"}]
    with pytest.raises(DataError, match="expected 1920x1080"):
        frames.read(frames.items[0])


def test_endovis2018_colours_repairs_and_splits(made: dict[str, Path]) -> None:
    root = made["EndoVis 2018"]
    frames = open_frames(root)
    assert len(frames) == 6  # nothing of __MACOSX
    plain = mask_of(frames, "seq_1/frame000")
    assert [int(plain[500, 100 * i + 50]) for i in range(12)] == list(range(12))
    assert np.array_equal(plain, mask_of(frames, "seq_1/frame001")), "RGBA"
    assert np.array_equal(plain, mask_of(frames, "seq_2/frame000")), "the other thread colour"
    assert (mask_of(frames, "seq_5/frame001") == 1).all(), "repaired"
    assert np.array_equal(plain, mask_of(frames, "seq_5/frame000"))
    assert "repairs.zip overwrites 1 labels" in frames.notes
    assert {item.group for item in frames.subset("val")} == {"seq_2", "seq_5"}
    parts = mask_of(open_frames(root, task="parts"), "seq_1/frame000")
    expected = [0, 1, 3, 2, 0, 0, 0, 0, 0, 255, 0, 255]
    assert [int(parts[500, 100 * i + 50]) for i in range(12)] == expected
    assert frames.table["wrist"].colour == (125, 255, 12)


@pytest.mark.parametrize("reading", ["decimal", "hexadecimal"])
def test_cholecseg8k_reads_both_codings(reading: str, tmp_path: Path) -> None:
    codes = layouts.DECIMAL if reading == "decimal" else layouts.HEXADECIMAL
    root = layouts.cholecseg8k(tmp_path / "set", codes)
    frames = open_frames(root)
    assert f"read as {reading}" in frames.notes[0]
    mask = mask_of(frames, "video01_00080/frame_81_endo".replace("_endo", ""))
    assert [int(mask[300, 65 * i + 20]) for i in range(13)] == list(range(13))
    assert (mask[:40] == 255).all()
    assert frames.groups == ("video01", "video12")
    binary = mask_of(open_frames(root, task="binary"), "video12_15750/frame_15750")
    assert [int(binary[300, 65 * i + 20]) for i in (4, 5, 9, 10)] == [0, 1, 1, 0]


def test_cholecseg8k_decides_for_the_set_and_never_by_value(tmp_path: Path) -> None:
    # Clips whose masks hold only the codes that collide, beside one mask that tells.
    root = layouts.cholecseg8k(tmp_path / "set", (50, 33))
    with pytest.raises(DataError, match="no watershed code says"):
        open_frames(root)
    told = np.full((480, 854), 80, np.uint8)  # only hexadecimal has 80
    file = root / "video12" / "video12_15750" / "frame_15751_endo_watershed_mask.png"
    write_picture(file, np.dstack([told] * 3))
    frames = open_frames(root)
    mask = mask_of(frames, "video01_00080/frame_80")
    assert [int(mask[300, 100]), int(mask[300, 800])] == [9, 2]  # hook and liver
    other = root / "video01" / "video01_00160" / "frame_160_endo_watershed_mask.png"
    write_picture(other, np.dstack([np.full((480, 854), 11, np.uint8)] * 3))
    with pytest.raises(DataError, match="both readings"):
        open_frames(root)


def test_kvasir_uses_channel_0_and_the_official_lists(made: dict[str, Path]) -> None:
    frames = open_frames(made["Kvasir-Instrument"])
    assert [len(frames.subset(split)) for split in ("train", "test")] == [4, 1]
    mask = mask_of(frames, "ckcu0")
    assert [int(mask[40, 10]), int(mask[40, 50])] == [0, 1]


def test_uw_sinus_groups_by_video(made: dict[str, Path]) -> None:
    frames = open_frames(made["UW-Sinus"])
    assert frames.groups == ("cadaver/S01", "cadaver/S02", "live/L01", "live/L02")
    assert len(frames.folds) == 4
    live = open_frames(made["UW-Sinus"], task="live")
    assert len(live) == 4
    assert len(live.fold(0).subset("val")) == 2


def test_cholec80_joins_on_frames_and_drops_the_phantom_row(made: dict[str, Path]) -> None:
    frames = open_frames(made["Cholec80"])
    assert [item.name for item in frames.subset("test")] == [
        "video41/000000",
        "video41/000025",
        "video41/000050",
    ]
    assert "video41: 1 rows from frame 75 on are left out, the video has 60 frames" in frames.notes
    second = frames.items[1]
    assert second.extra["presence"] == (1, 0, 1, 0, 0, 0, 0)
    assert second.extra["phase"] == "Preparation"
    assert frames.items[2].extra["phase"] == "GallbladderDissection"
    assert frames.read(second).image.mean() == pytest.approx(75, abs=3)
    report = check_frames(made["Cholec80"])
    assert report.counts.tolist() == [4, 0, 2, 0, 0, 0, 2]
    assert report.faults == ()


def test_cholec_instance_seg_joins_parts_of_an_instance(made: dict[str, Path]) -> None:
    frames = open_frames(made["CholecInstanceSeg"])
    assert [len(frames.subset(split)) for split in ("train", "val")] == [4, 2]
    assert frames.groups == ("VID01", "VID02", "VID07")
    mask = mask_of(frames, "train/VID01_t50_sparse/t50_VID01_000000")
    assert [int(mask[20, 20]), int(mask[45, 60]), int(mask[1, 3])] == [1, 1, 7]


def test_robust_mis_counts_any_instance(made: dict[str, Path]) -> None:
    frames = open_frames(made["Robust-MIS 2019"])
    assert len(frames.subset("test")) == 2
    assert frames.groups[0] == "Testing/Sigmoid/3"
    mask = mask_of(frames, "Training/Proctocolectomy/1/100")
    assert [int(mask[40, x]) for x in (10, 48, 80)] == [0, 1, 1]


def test_sets_without_masks(made: dict[str, Path]) -> None:
    frames = open_frames(made["YOLO boxes"])
    assert frames.table.names == ("Lahey", "9 Mayo")
    assert frames.items[1].extra["boxes"][0].class_index == 1
    assert {split: len(names) for split, names in frames.splits.items()} == {
        "train": 2,
        "val": 2,
        "test": 2,
    }
    classes = open_frames(made["class folders"])
    assert classes.table.names == ("forceps", "scissors")
    assert classes.items[-1].extra["class"] == 1
    report = check_frames(made["class folders"])
    assert report.counts.tolist() == [4, 4]
    assert report.labelled == report.frames == 8


def test_real_samples(samples: Path) -> None:
    frames = open_frames(samples / "cholec_instance_seg_sample")
    assert len(frames) == 10
    report = check_frames(samples / "cholec_instance_seg_sample")
    assert report.faults == ()
    assert report.counts.tolist() == [10, 9, 6, 0, 0, 0, 0, 0]
    tools = open_frames(samples / "surgical_tools")
    assert len(tools) == 1620
    assert [len(tools.subset(split)) for split in ("train", "val", "test")] == [1080, 270, 270]


def test_voc_takes_classes_and_colours_from_the_label_map(made: dict[str, Path]) -> None:
    frames = open_frames(made["Pascal VOC masks"])
    assert frames.table.names == ("background", "hook", "grasper")
    assert frames.table["hook"].colour == (250, 50, 83)
    mask = mask_of(frames, "a0")
    assert [mask[12, x] for x in (5, 17, 30)] == [0, 2, 1]
    assert frames.instances is not None
    assert len(np.unique(frames.instances(frames.items[0]))) == 3
    assert frames.splits == {}


def test_nnunet_maps_values_with_gaps_and_its_ignore_label(made: dict[str, Path]) -> None:
    frames = open_frames(made["nnU-Net"])
    assert frames.table.names == ("background", "hook", "grasper")
    assert frames.splits == {"train": ("c_0", "c_1", "c_2"), "test": ("t_0",)}
    mask = mask_of(frames, "c_1")
    assert [mask[12, x] for x in (4, 13, 22, 31)] == [0, 1, 2, 255]


def test_nnunet_refuses_channels_and_regions(made: dict[str, Path], tmp_path: Path) -> None:
    root = tmp_path / "set"
    shutil.copytree(made["nnU-Net"], root)
    write_picture(root / "imagesTr" / "c_0_0001.png", picture(1, 24, 36))
    (root / "dataset.json").write_text('{"labels": {"background": 0, "tool": [1, 2]}}')
    texts = [fault.text for fault in scan_frames(root)[0].faults]
    assert any("is a channel of its own" in text for text in texts)
    assert any("['tool'] are no numbers 0..255" in text for text in texts)


def test_mmsegmentation_keeps_its_splits_and_255(made: dict[str, Path]) -> None:
    frames = open_frames(made["MMSegmentation"])
    assert frames.splits == {"train": ("train/a0", "train/a1"), "val": ("val/a0", "val/a1")}
    mask = mask_of(frames, "train/a1")
    assert [mask[12, x] for x in (4, 13, 22, 31)] == [0, 1, 2, 255]
    assert frames.groups == ()
