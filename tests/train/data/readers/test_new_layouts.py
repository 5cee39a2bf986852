"""The values that each layout of other tools and of published sets means."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import layouts
import numpy as np
import pytest
from annotation_layouts import coco_document
from data_helpers import TABLE, labels, picture

from trocar.contract.errors import ConfigError, DataError
from trocar.contract.media.pictures import write_picture
from trocar.train.data.readers import LAYOUTS, open_frames, recognise, scan_frames
from trocar.train.data.sample import FrameSet
from trocar.train.data.tools.check import check_frames

Mask = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


def mask_of(frames: FrameSet, name: str) -> Mask:
    (item,) = [item for item in frames if item.name == name]
    mask = frames.read(item).mask
    assert mask is not None
    return mask


def instances_of(frames: FrameSet, name: str, size: tuple[int, int] = (24, 36)) -> Mask:
    (item,) = [item for item in frames if item.name == name]
    found = frames.instance_map(item, size)
    assert found is not None
    return found.astype(np.uint8)


def test_cityscapes_names(tmp_path: Path) -> None:
    frames = open_frames(layouts.cityscapes(tmp_path))
    assert frames.groups == ("train/case0", "val/case1")
    assert {split: len(names) for split, names in frames.splits.items()} == {"train": 2, "val": 2}
    assert frames.notes == ("the split test has no masks and is left out",)
    expected = layouts.boxes((0, 1, 2, 255), 24, 36)
    assert np.array_equal(mask_of(frames, "train/case0/case0_000001"), expected)
    # Without label ids, the ids for training are read.
    for file in tmp_path.rglob("*_labelIds.png"):
        file.rename(file.with_name(file.name.replace("labelIds", "labelTrainIds")))
    assert np.array_equal(mask_of(open_frames(tmp_path), "val/case1/case1_000000"), expected)
    (tmp_path / "classes.toml").unlink()
    with pytest.raises(DataError, match=r"classes\.toml: is missing"):
        open_frames(tmp_path)


def test_supervisely_bitmaps_polygons_and_rectangles(tmp_path: Path) -> None:
    frames = open_frames(layouts.supervisely(tmp_path))
    assert frames.table.names == ("background", "grasper", "hook")
    assert set(frames.splits) == {"train", "val"}
    expected = np.zeros((24, 36), np.uint8)
    expected[5:11, 4:12] = 2
    expected[7:9, 7:9] = 0
    expected[2:21, 20:33] = 1  # corners are part of it
    expected[8:13, 24:29] = 0  # so is the outline of a hole
    expected[20:24, 0:4] = 2
    numbers = np.zeros((24, 36), np.uint8)
    numbers[:20][expected[:20] == 2], numbers[expected == 1], numbers[20:24, 0:4] = 1, 2, 3
    for name in ("train/a0", "train/a1"):  # a grey bitmap, and one with an alpha channel
        assert np.array_equal(mask_of(frames, name), expected)
        assert np.array_equal(instances_of(frames, name), numbers)
    assert frames.groups == ()
    (tmp_path / "val").rename(tmp_path / "operation 2")
    several = open_frames(tmp_path)
    assert several.groups == ("train", "operation 2")
    assert several.splits == {}
    shutil.rmtree(tmp_path / "operation 2")
    assert open_frames(tmp_path).groups == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"classTitle": "clip"}, r"object 1: has the class 'clip'; classes are .*hook"),
        ({"geometryType": "line"}, "object 1: a line has no area"),
        ({"bitmap": {"origin": [4, 5], "data": "AAAA"}}, "object 1: a bitmap is no compressed"),
        ({"bitmap": {"origin": [4.5, 5], "data": ""}}, "object 1: an origin is 4.5, expected a"),
        ({"geometryType": "polygon"}, "object 1: 'points' is missing"),
    ],
)
def test_supervisely_objects_that_cannot_be_read_are_faults(
    change: dict[str, object], words: str, tmp_path: Path
) -> None:
    file = layouts.supervisely(tmp_path) / "train" / "ann" / "a0.png.json"
    data = json.loads(file.read_text())
    data["objects"][0] |= change
    file.write_text(json.dumps(data))
    (fault,) = scan_frames(tmp_path)[0].faults
    assert fault.file == file
    assert re.search(words, fault.text), fault.text


def coco_places(root: Path) -> dict[str, tuple[str, str]]:
    """Annotation file and pictures of each arrangement."""
    return {
        "COCO": ("annotations/instances_train2017.json", "train2017/a.png"),
        "CVAT": ("annotations/instances_default.json", "images/case1/a.png"),
        "GraSP": ("annotations/grasp_short-term_train.json", "frames/CASE001/000000068.png"),
    }


@pytest.mark.parametrize("kind", ["COCO", "CVAT", "GraSP"])
def test_coco_files_beside_their_pictures(kind: str, tmp_path: Path) -> None:
    file, image = coco_places(tmp_path)[kind]
    below = image.split("/", 1)[1]
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(json.dumps(coco_document([below])))
    write_picture(tmp_path / image, picture(1, 24, 36))
    if kind == "GraSP":
        other = tmp_path / "annotations" / "grasp_short-term_test.json"
        other.write_text(json.dumps(coco_document(["CASE041/1.png"])))
        write_picture(tmp_path / "frames" / "CASE041" / "1.png", picture(2, 24, 36))
    frames = open_frames(tmp_path)
    assert frames.table.names == ("background", "grasper", "hook")
    assert frames.groups == {"COCO": (), "CVAT": ("case1",), "GraSP": ("CASE001", "CASE041")}[kind]
    assert set(frames.splits) == ({"train", "test"} if kind == "GraSP" else set())
    expected = np.zeros((24, 36), np.uint8)
    expected[2:20, 2:12], expected[4:20, 20:30] = 2, 1
    name = frames.items[0].name
    assert np.array_equal(mask_of(frames, name), expected)
    assert np.array_equal(instances_of(frames, name), (expected > 0) * (3 - expected))
    assert check_frames(tmp_path).faults == ()


def test_roboflow_pictures_that_no_file_names_are_faults(tmp_path: Path) -> None:
    root = layouts.coco(tmp_path)
    assert set(open_frames(root).splits) == {"train", "val"}
    write_picture(root / "train" / "extra.png", picture(5))
    with pytest.raises(DataError, match=r"1 fault\n.*extra\.png: is named in no _annotations"):
        open_frames(root)
    (root / "train" / "extra.png").unlink()
    write_picture(root / "train" / "a0.jpg", picture(5, 30, 36))
    (fault,) = check_frames(root).faults
    assert "is 36x30, its annotation in " in fault.text
    assert fault.text.endswith("is for 36x24")


def test_endoscapes(tmp_path: Path) -> None:
    frames = open_frames(layouts.endoscapes(tmp_path))
    assert frames.groups == ("4", "5", "126", "165")
    assert {s: len(n) for s, n in frames.splits.items()} == {"train": 4, "val": 2, "test": 2}
    assert frames.table.names[1] == "cystic plate"
    assert [row.name for row in frames.table if row.instrument] == ["tool"]
    ids = layouts.boxes(range(7), 24, 42)
    assert np.array_equal(mask_of(frames, "5_22475"), ids)
    binary = open_frames(tmp_path, task="binary")
    assert np.array_equal(mask_of(binary, "5_22475"), ids == 6)


def test_autolaparo(tmp_path: Path) -> None:
    root = layouts.autolaparo(tmp_path / "own_name")
    values = layouts.boxes(range(0, 200, 20), 24, 40)
    shown = {
        "type": np.select([values == v for v in range(0, 200, 20)], [0, 1, 1, 2, 2, 3, 3, 4, 4, 5]),
        "parts": np.where((values > 0) & (values < 180), 2 - values // 20 % 2, 0),
        "binary": (values > 0) & (values < 180),
    }
    for task, expected in shown.items():
        frames = open_frames(root, task=task)
        assert np.array_equal(mask_of(frames, "00002"), expected), task
    assert open_frames(root).table.names[2] == "LigaSure"
    assert open_frames(root, task="parts").table.names == ("background", "manipulator", "shaft")
    # Own sets in folders of the same names are not taken for it.
    for file in (root / "masks").iterdir():
        write_picture(file, labels(1, 24, 40))
    with pytest.raises(DataError, match=r"AutoLaparo: masks/ holds other values"):
        recognise(root)
    assert recognise(root, layout="autolaparo")[0] is LAYOUTS["autolaparo"]


def test_endovis_2018_with_types(tmp_path: Path) -> None:
    frames = open_frames(layouts.isinet(tmp_path / "isinet"))
    assert frames.groups == ("seq_1", "seq_2")
    assert frames.notes == (
        "there is no labels*.json: classes 1 to 7 are named as SurgicalSAM names them",
    )
    expected, numbers = np.zeros((24, 36), np.uint8), np.zeros((24, 36), np.uint8)
    expected[4:20, 2:10], expected[4:20, 12:18], expected[4:20, 20:30] = 1, 1, 6
    numbers[4:20, 2:10], numbers[4:20, 12:18], numbers[4:20, 20:30] = 1, 2, 3
    assert np.array_equal(mask_of(frames, "train/seq1_frame001"), expected)
    assert np.array_equal(instances_of(frames, "train/seq1_frame001"), numbers)
    assert frames.table[6].name == "suction instrument"
    # ISINet's other numbering is read from the file that it writes.
    names = [{"classid": n, "name": f"type {n}"} for n in (1, 4, 6)]
    (tmp_path / "isinet" / "labels_2017.json").write_text(json.dumps(names))
    other = open_frames(tmp_path / "isinet")
    assert other.table.names == ("background", "type 1", "type 4", "type 6")
    assert np.array_equal(mask_of(other, "val/seq2_frame000"), np.where(expected == 6, 3, expected))
    (tmp_path / "isinet" / "labels_2017.json").write_text(json.dumps(names[:1]))
    with pytest.raises(DataError, match=r"4 faults\n.*class6_inst0\.png: is of class 6; classes"):
        open_frames(tmp_path / "isinet")


def test_endovis_2018_as_surgicalsam_arranges_it(tmp_path: Path) -> None:
    for place in ("train/0", "train/1", "val"):
        folder, sequence = tmp_path / place, "seq_2" if place == "val" else "seq_1"
        for i in range(2):
            write_picture(folder / "images" / sequence / f"{i:05d}.png", picture(len(place) + i))
        mask = np.zeros((24, 32), np.uint8)
        mask[:8] = 1
        write_picture(folder / "binary_annotations" / sequence / "00000_class3.png", mask)
    frames = open_frames(tmp_path)
    assert [item.name for item in frames] == [
        *("train/seq_1/00000", "train/seq_1/00001", "val/seq_2/00000", "val/seq_2/00001"),
    ]
    assert np.array_equal(mask_of(frames, "val/seq_2/00000"), 3 * mask)
    assert not mask_of(frames, "val/seq_2/00001").any()
    assert not instances_of(frames, "val/seq_2/00001", (24, 32)).any()
    assert frames.groups == ("seq_1", "seq_2")
    assert frames.notes[-1] == "2 frames have no binary annotation: they show no instrument"
    assert len(frames.labelled()) == 4


def test_dresden(tmp_path: Path) -> None:
    root = layouts.dresden(tmp_path / "data")
    frames = open_frames(root)
    assert frames.task == "colon"
    assert frames.groups == ("01", "03", "32")
    assert {s: len(n) for s, n in frames.splits.items()} == {"train": 2, "val": 2, "test": 2}
    assert frames.table.names == ("background", "colon")
    mask = layouts.boxes((0, 255), 24, 36)
    assert np.array_equal(mask_of(frames, "03/image01"), mask > 0)
    shutil.copytree(root / "colon", root / "liver")
    with pytest.raises(ConfigError, match="2 organs") as error:
        open_frames(root)
    assert error.value.remedy == "choose one with --task: colon, liver"
    assert open_frames(root, task="liver").table.names == ("background", "liver")
    assert open_frames(root / "liver").table.names == ("background", "liver")


def test_a_set_of_two_layouts_is_refused(tmp_path: Path) -> None:
    layouts.coco(tmp_path)
    layouts.cityscapes(tmp_path)
    with pytest.raises(DataError, match=r"fits 2 layouts:\n  Cityscapes.*\n  COCO: ") as error:
        open_frames(tmp_path)
    assert "--layout cityscapes or --layout coco" in error.value.remedy
    assert open_frames(tmp_path, layout="coco").table.names[1] == "grasper"


def test_masks_by_a_pattern(tmp_path: Path) -> None:
    for i in range(3):
        write_picture(tmp_path / "op1" / f"f{i}.png", picture(i))
        write_picture(tmp_path / "op1" / f"f{i}_mask.png", labels(i))
    TABLE.write(tmp_path / "classes.toml")
    (tmp_path / "dataset.toml").write_text('masks = "{stem}_mask.png"\n')
    frames = open_frames(tmp_path)
    assert [item.name for item in frames] == ["op1/f0", "op1/f1", "op1/f2"]
    assert frames.groups == ("op1",)
    assert np.array_equal(mask_of(frames, "op1/f2"), labels(2))
    assert check_frames(tmp_path).faults == ()
    # In another folder, from the folder of the set on.
    (tmp_path / "truth" / "op1").mkdir(parents=True)
    for i in range(3):
        target = tmp_path / "truth" / "op1" / f"seg-f{i}.png"
        (tmp_path / "op1" / f"f{i}_mask.png").rename(target)
    (tmp_path / "frames").mkdir()
    (tmp_path / "op1").rename(tmp_path / "frames" / "op1")
    text = 'images = "frames"\nmasks = "truth/{folder}/seg-{stem}.png"\n'
    (tmp_path / "dataset.toml").write_text(text)
    assert np.array_equal(mask_of(open_frames(tmp_path), "op1/f1"), labels(1))
    (tmp_path / "truth" / "op1" / "seg-f0.png").unlink()
    with pytest.raises(DataError, match=r"1 fault\n.*f0\.png: has no mask truth/op1/seg-f0"):
        open_frames(tmp_path)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ('"{stam}_mask.png"', r"placeholders are \{stem\} and \{folder\}, not \{stam\}"),
        ('"mask.png"', "all pictures would have one mask"),
        ('"{stem"', "expected '}'"),
        ('"../{stem}.png"', "below the folder of the set"),
        ('"{stem}.mask"', "expected a suffix of a picture"),
        ("3", "expected a text"),
        ('"{stem!r}.png"', "placeholders are"),
    ],
)
def test_patterns_that_name_no_mask_are_refused(value: str, words: str, tmp_path: Path) -> None:
    write_picture(tmp_path / "images" / "f0.png", picture(0))
    (tmp_path / "dataset.toml").write_text(f"masks = {value}\n")
    with pytest.raises(DataError, match=words) as error:
        open_frames(tmp_path)
    assert error.value.message.startswith(f"{tmp_path / 'dataset.toml'}: masks is ")
    assert "{stem}_mask.png" in error.value.remedy
