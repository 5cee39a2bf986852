"""Annotations out and in, conversion, video cutting and combinations of sets."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import layouts
import numpy as np
import pytest
from click.testing import CliRunner
from data_kit import TABLE, image_and_mask_folder, labels, picture
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image

from trocar.contract.classes import ClassTable
from trocar.contract.errors import ConfigError, DataError, OutputExistsError
from trocar.train.data.annotations.coco import (
    pictures_from_coco,
    runs_from_text,
    text_from_runs,
)
from trocar.train.data.annotations.exchange import KINDS, export_labels, import_labels
from trocar.train.data.annotations.regions import (
    filled,
    from_runs,
    polygons_of,
    regions_of,
    runs_of,
)
from trocar.train.data.check import check
from trocar.train.data.cli import data
from trocar.train.data.combine import combine, mapped
from trocar.train.data.images import write_png
from trocar.train.data.importing import import_frames
from trocar.train.data.pool import CutConfig, cut_videos, perceptual_hash, warm_share
from trocar.train.data.readers import open_frames
from trocar.train.data.sample import FrameSet, Item, Sample
from trocar.train.data.video import frame_at, iterate, video_info

MASKS = arrays(np.uint8, (9, 12), elements=st.integers(0, 3))


@settings(max_examples=150, deadline=None)
@given(MASKS)
def test_regions_polygons_and_runs_lose_nothing(mask: NDArray[np.uint8]) -> None:
    again = np.zeros_like(mask)
    for region in regions_of(mask):
        polygons = polygons_of(region.mask)
        assert all(len(polygon) >= 3 for polygon in polygons)
        assert np.array_equal(filled(polygons, mask.shape), region.mask)
        again[region.mask] = region.class_id
        runs = runs_of(region.mask.ravel())
        assert np.array_equal(from_runs(runs, mask.size), region.mask.ravel())
        assert runs_from_text(text_from_runs(runs)) == runs
    assert np.array_equal(again, mask)


def test_compressed_runs_by_hand() -> None:
    assert runs_from_text("0") == [0]
    assert text_from_runs([5, 3]) == "53"
    assert text_from_runs([100]) == "T3"  # 100 = 3*32 + 4: 4|32 -> 'T', 3 -> '3'
    assert text_from_runs([0, 10, 0, 4]) == "0:0J"  # 4 - 10 = -6 -> 26 -> 'J'
    for broken in ("T", "é"):
        with pytest.raises(ValueError, match="run lengths"):
            runs_from_text(broken)


@pytest.fixture
def ringed(tmp_path: Path) -> Path:
    """A set whose masks have holes, specks and touching classes."""
    root = image_and_mask_folder(tmp_path / "set")
    mask = np.zeros((24, 32), np.uint8)
    mask[2:20, 2:20] = 1
    mask[5:16, 5:16] = 0
    mask[8:12, 8:12] = 2
    mask[3:6, 20:30] = 2
    mask[22, 31] = 1
    write_png(root / "masks" / "f0.png", mask)
    return root


@pytest.mark.parametrize("kind", KINDS)
def test_labels_out_and_in_are_the_same(kind: str, ringed: Path, tmp_path: Path) -> None:
    frames = open_frames(ringed)
    out = tmp_path / (
        "labels" if kind == "labelme" else f"labels{'.xml' if 'cvat' in kind else '.json'}"
    )
    export_labels(frames, out, kind=kind)
    import_labels(out, ringed / "images", tmp_path / "back", table=TABLE)
    back = open_frames(tmp_path / "back")
    assert [item.name for item in back] == [item.name for item in frames]
    for mine, theirs in zip(frames.items, back.items, strict=True):
        first, second = frames.read(mine), back.read(theirs)
        assert first.mask is not None
        assert second.mask is not None
        assert np.array_equal(first.mask, second.mask)
        assert np.array_equal(first.image, second.image)
    with pytest.raises(OutputExistsError):
        export_labels(frames, out, kind=kind)
    import_labels(out, ringed / "images", tmp_path / "own_table")
    assert set(open_frames(tmp_path / "own_table").table.names) == set(TABLE.names)


def test_cvat_masks_boxes_and_order(tmp_path: Path) -> None:
    write_png(tmp_path / "images" / "a.png", picture(0, 10, 12))
    (tmp_path / "labels.xml").write_text(
        '<annotations><image id="0" name="a.png" width="12" height="10">'
        '<mask label="hook" rle="1, 4, 1" left="2" top="3" width="3" height="2" z_order="2"/>'
        '<box label="grasper" xtl="1" ytl="1" xbr="6" ybr="8" z_order="1"/>'
        '<points label="tip" points="1,1"/></image></annotations>'
    )
    import_labels(tmp_path / "labels.xml", tmp_path / "images", tmp_path / "out")
    frames = open_frames(tmp_path / "out")
    mask = frames.read(frames.items[0]).mask
    assert mask is not None
    grasper, hook = frames.table["grasper"].id, frames.table["hook"].id
    assert mask[3].tolist() == [0, grasper, grasper, hook, hook, grasper] + [0] * 6
    assert mask[4].tolist() == [0, grasper, hook, hook, grasper, grasper] + [0] * 6


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.json", "{", "not a COCO annotation"),
        ("a.json", '{"images": [], "annotations": []}', "'categories' is missing"),
        ("a.xml", "<other/>", "expected <annotations>"),
        ("a.xml", '<!DOCTYPE x [<!ENTITY a "b">]><annotations/>', "entities"),
        ("a.json", '{"shapes": [{"label": "x"}], "imageHeight": 2, "imageWidth": 2}', "points"),
    ],
)
def test_malformed_annotations(name: str, text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match=words):
        import_labels(tmp_path / name, tmp_path / "images", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_annotations_of_missing_pictures_and_unknown_labels(ringed: Path, tmp_path: Path) -> None:
    out = tmp_path / "labels.json"
    export_labels(open_frames(ringed), out, kind="coco")
    (ringed / "images" / "f1.png").unlink()
    table = ClassTable.from_names(["background", "grasper"])
    with pytest.raises(DataError, match=r"f1\.png: is annotated and missing") as error:
        import_labels(out, ringed / "images", tmp_path / "out", table=table)
    assert "'scissors'" in error.value.message
    coco = json.loads(out.read_text())
    coco["images"][0]["file_name"] = "../../etc/passwd"
    out.write_text(json.dumps(coco))
    with pytest.raises(DataError, match="missing"):
        import_labels(out, ringed / "images", tmp_path / "out")


def test_coco_of_numbers_and_of_other_tools(tmp_path: Path) -> None:
    rle = {"size": [2, 3], "counts": [1, 2, 3]}
    coco = {
        "images": [{"id": 7, "file_name": "a.png", "height": 2, "width": 3}],
        "categories": [{"id": 4, "name": "hook"}],
        "annotations": [{"image_id": 7, "category_id": 4, "segmentation": rle}],
    }
    (tmp_path / "a.json").write_text(json.dumps(coco))
    pictures, names = pictures_from_coco(tmp_path / "a.json")
    assert names == ["hook"]
    assert pictures[0].masks[0].tolist() == [[False, True, False], [True, False, False]]
    coco["annotations"][0]["segmentation"] = {"size": [2, 3], "counts": [1, 2]}  # type: ignore[index]
    (tmp_path / "a.json").write_text(json.dumps(coco))
    with pytest.raises(DataError, match="cover 3 of 6"):
        pictures_from_coco(tmp_path / "a.json")


def test_the_label_commands(ringed: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "labels.json")
    first = CliRunner().invoke(data, ["labels-out", str(ringed), out, "--format", "coco-rle"])
    assert first.exit_code == 0, first.output
    arguments = ["labels-in", out, str(ringed / "images"), str(tmp_path / "back")]
    assert CliRunner().invoke(data, arguments).exit_code == 0
    assert check(tmp_path / "back").faults == ()


# Conversion


def test_conversion_keeps_frames_masks_groups_and_splits(tmp_path: Path) -> None:
    source = layouts.cholec_instance_seg(tmp_path / "source")
    frames = open_frames(source)
    steps: list[tuple[int, int]] = []
    out = tmp_path / "out"
    assert import_frames(frames, out, progress=lambda a, b: steps.append((a, b))) == 0
    assert steps[-1] == (6, 6)
    back = open_frames(out)
    assert back.table == frames.table
    assert sorted(back.groups) == sorted(frames.groups)
    assert {s: len(n) for s, n in back.splits.items()} == {"train": 4, "val": 2}
    pairs = zip(
        sorted(frames.items, key=lambda i: i.name.replace("/", "__")),
        sorted(back.items, key=lambda i: i.name.split("/", 1)[1]),
        strict=True,
    )
    for mine, theirs in pairs:
        assert theirs.group == mine.group
        first, second = frames.read(mine), back.read(theirs)
        assert first.mask is not None
        assert second.mask is not None
        assert np.array_equal(first.image, second.image)
        assert np.array_equal(first.mask, second.mask)
    assert not list(tmp_path.glob(".out*"))
    with pytest.raises(OutputExistsError):
        import_frames(frames, out)


def test_conversion_goes_on_after_an_interruption(tmp_path: Path) -> None:
    frames = open_frames(image_and_mask_folder(tmp_path / "set"))
    read: list[str] = []

    def stops(item: Item) -> Sample:
        if item.name == "f2" and "f2" not in read:
            read.append(item.name)
            raise KeyboardInterrupt
        read.append(item.name)
        return frames.read(item)

    out = tmp_path / "out"
    broken = replace(frames, read=stops)
    with pytest.raises(KeyboardInterrupt):
        import_frames(broken, out, workers=1)
    assert not out.exists()
    done = len(list((tmp_path / ".out.partial" / "images").iterdir()))
    read.clear()
    read.append("f2")
    assert import_frames(broken, out, workers=1) == done == 2
    assert sorted(read[1:]) == ["f2", "f3"]  # what was done is not read again
    assert check(out).faults == ()
    (tmp_path / ".other.partial").mkdir()
    (tmp_path / ".other.partial" / "import.json").write_text("{}")
    with pytest.raises(DataError, match="another import"):
        import_frames(frames, tmp_path / "other")


def test_conversion_of_videos_and_presence(tmp_path: Path) -> None:
    source = layouts.cholec80(tmp_path / "source")
    result = CliRunner().invoke(
        data, ["import", str(source), str(tmp_path / "out"), "--format", "jpg"]
    )
    assert result.exit_code == 0, (result.output, result.exception)
    rows = (tmp_path / "out" / "presence.tsv").read_text().splitlines()
    assert rows[2] == "video01/video01__000025\t1\t0\t1\t0\t0\t0\t0"
    frames = open_frames(tmp_path / "out")
    assert len(frames) == 6
    assert len(frames.subset("test")) == 3
    assert frames.read(frames.items[1]).image.mean() == pytest.approx(75, abs=4)


def test_a_fault_in_the_middle_ends_the_conversion(tmp_path: Path) -> None:
    root = image_and_mask_folder(tmp_path / "set")
    frames = open_frames(root)
    (root / "images" / "f1.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"f1\.png is empty"):
        import_frames(frames, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# Videos


def scenes(tmp_path: Path) -> Path:
    """A video of 8 still scenes of 10 frames: five inside the body, black, outside, a repeat."""

    def inside(seed: int) -> NDArray[np.uint8]:
        base = picture(seed, 96, 128)[..., :1].astype(int)
        return np.concatenate((120 + base // 2, 60 + base // 4, 50 + base // 4), 2).astype(np.uint8)

    black = np.zeros((96, 128, 3), np.uint8)
    drape = np.zeros((96, 128, 3), np.uint8)
    drape[:] = (60, 120, 170)
    order = [inside(0), inside(1), black, inside(2), drape, inside(1), inside(3), inside(4)]
    path = tmp_path / "Smith_John.mp4"
    layouts.video(path, [frame for frame in order for _ in range(10)], rate=10)
    return path


def test_cutting_leaves_out_black_outside_and_copies(tmp_path: Path) -> None:
    path = scenes(tmp_path)
    counts = cut_videos([path], tmp_path / "pool", CutConfig(seconds=0.5))
    # 16 frames are looked at: two of each scene, the second of each a copy.
    assert counts == {"taken": 5, "black": 2, "outside": 2, "copy": 7}
    frames = open_frames(tmp_path / "pool")
    assert [item.name for item in frames] == [f"video001/{n:07d}" for n in (0, 10, 30, 60, 70)]
    assert frames.groups == ("video001",)
    assert not any("Smith" in str(p) for p in (tmp_path / "pool").rglob("*"))
    with Image.open(frames.items[0].image) as written:
        assert not written.info
    named = tmp_path / "named"
    every = CutConfig(seconds=0, every=10, distance=-1, warm=0, black=0, keep_names=True)
    assert cut_videos([path], named, every)["taken"] == 8
    assert open_frames(named).groups == ("Smith_John",)


def test_videos_that_cannot_be_cut(tmp_path: Path) -> None:
    path = scenes(tmp_path)
    data_of = path.read_bytes()
    cases = {
        "empty.mp4": (b"", "empty"),
        "short.mp4": (data_of[: len(data_of) // 2], "cannot be opened|breaks off"),
        "words.mp4": (b"no video at all", "cannot be opened"),
    }
    for name, (content, words) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=words):
            cut_videos([path, tmp_path / name], tmp_path / "pool")
    with pytest.raises(DataError, match="there is no video"):
        cut_videos([tmp_path / "nowhere.mp4"], tmp_path / "pool")
    with pytest.raises(DataError, match=r"no frame of 1 videos is left: .*black"):
        cut_videos([path], tmp_path / "pool", CutConfig(black=255))
    with pytest.raises(ConfigError, match="every"):
        CutConfig(every=0)
    assert not (tmp_path / "pool").exists()
    result = CliRunner().invoke(data, ["frames", str(path), str(tmp_path / "pool")])
    assert result.exit_code == 0, (result.output, result.exception)
    assert "took 5 frames" in result.output


def test_frames_by_number_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    layouts.video(path, [np.full((32, 48, 3), 4 * i, np.uint8) for i in range(50)])
    assert video_info(path).frames == 50
    assert video_info(path).size == (32, 48)
    for number in (3, 3, 40, 7):
        assert frame_at(path, number).mean() == pytest.approx(4 * number, abs=3)
    with pytest.raises(DataError, match="has 50 frames, number 50"):
        frame_at(path, 50)
    assert [n for n, _, _ in iterate(path, every=20)] == [0, 20, 40]


def test_real_frames_are_taken_for_inside(samples: Path) -> None:
    frames = open_frames(samples / "cholec_instance_seg_sample")
    images = [frames.read(item).image for item in frames]
    assert min(warm_share(image) for image in images) > 0.6
    photographs = open_frames(samples / "surgical_tools")
    shares = [warm_share(photographs.read(item).image) for item in photographs.items[::200]]
    assert max(shares) < 0.15
    hashes = [perceptual_hash(image) for image in images]
    assert len(set(hashes)) == 10


# Combinations


def other_set(root: Path) -> Path:
    image_and_mask_folder(root)
    ClassTable.from_names(["background", "liver", "hook"]).write(root / "classes.toml")
    return root


def test_sets_are_joined_by_a_file(tmp_path: Path) -> None:
    image_and_mask_folder(tmp_path / "one")
    other_set(tmp_path / "two")
    (tmp_path / "mix.toml").write_text(
        '[[sets]]\npath = "one"\n[[sets]]\npath = "two"\nsplit = "train"\nothers = "background"\n'
        '[sets.classes]\nhook = "scissors"\n'
    )
    frames = open_frames(tmp_path / "mix.toml")
    assert frames.table.names == TABLE.names
    assert {s: len(n) for s, n in frames.splits.items()} == {"train": 7, "val": 1}
    sample = frames.read(frames.items[5])
    assert sample.name == "1/f1"
    assert sample.mask is not None
    expected = np.array([0, 0, 2], np.uint8)[labels(1)]
    assert np.array_equal(sample.mask, expected)
    assert check(tmp_path / "mix.toml").faults == ()
    with pytest.raises(ConfigError, match="no tasks"):
        open_frames(tmp_path / "mix.toml", task="parts")


def test_classes_that_are_mapped_to_nothing(tmp_path: Path) -> None:
    frames = open_frames(other_set(tmp_path / "two"))
    with pytest.raises(DataError, match="nothing is said of liver, hook"):
        mapped(frames, TABLE)
    with pytest.raises(DataError, match=r"'hok' is not known.*'claw' is no class to map 'liver'"):
        mapped(frames, TABLE, classes={"hok": "grasper", "liver": "claw"}, others="background")
    ignored = mapped(frames, TABLE, classes={"liver": "ignore", "hook": "grasper"})
    mask = ignored.read(ignored.items[0]).mask
    assert mask is not None
    assert np.array_equal(mask, np.array([0, 255, 1], np.uint8)[labels(0)])
    with pytest.raises(DataError, match="expected background, grasper"):
        combine([frames], table=TABLE, root=tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "lists no sets"),
        ('[[sets]]\npath = "one"\nsplitt = "train"\n', "did you mean split"),
        ('[[sets]]\npath = "one"\nsplit = "training"\n', "as a split"),
        ('[[sets]]\npath = "nowhere"\n', "there is no"),
    ],
)
def test_combination_files_with_faults(text: str, words: str, tmp_path: Path) -> None:
    image_and_mask_folder(tmp_path / "one")
    (tmp_path / "mix.toml").write_text(text)
    with pytest.raises(DataError, match=words):
        open_frames(tmp_path / "mix.toml")


def test_a_part_of_a_set_keeps_what_is_left_of_its_splits(tmp_path: Path) -> None:
    frames: FrameSet = open_frames(image_and_mask_folder(tmp_path / "one"))
    assert frames.only(["f1"]).splits == {"train": ("f1",), "val": ()}
