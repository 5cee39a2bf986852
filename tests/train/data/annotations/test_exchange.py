"""Annotations out and in, and conversion of sets."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import layouts
import numpy as np
import pytest
from click.testing import CliRunner
from data_helpers import TABLE, image_and_mask_folder, picture
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from trocar.commands.data import data
from trocar.contract.classes import ClassTable
from trocar.contract.errors import DataError, OutputExistsError
from trocar.contract.media.pictures import write_picture
from trocar.train.data.annotations.coco import images_from_coco
from trocar.train.data.annotations.exchange import KINDS, export_labels, import_labels
from trocar.train.data.annotations.regions import (
    decode_runs,
    encode_runs,
    fill_polygons,
    polygons_of,
    regions_of,
    runs_from_text,
    text_from_runs,
)
from trocar.train.data.readers import open_frames
from trocar.train.data.sample import Item, Sample
from trocar.train.data.tools.check import check_frames
from trocar.train.data.tools.convert import import_frames

MASKS = arrays(np.uint8, (9, 12), elements=st.integers(0, 3))


@settings(max_examples=150, deadline=None)
@given(MASKS)
def test_regions_polygons_and_runs_lose_nothing(mask: NDArray[np.uint8]) -> None:
    again = np.zeros_like(mask)
    for region in regions_of(mask):
        polygons = polygons_of(region.mask)
        assert all(len(polygon) >= 3 for polygon in polygons)
        assert np.array_equal(fill_polygons(polygons, mask.shape), region.mask)
        again[region.mask] = region.class_id
        runs = encode_runs(region.mask.ravel())
        assert np.array_equal(decode_runs(runs, mask.size), region.mask.ravel())
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
    write_picture(root / "masks" / "f0.png", mask)
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
    write_picture(tmp_path / "images" / "a.png", picture(0, 10, 12))
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
    with pytest.raises(DataError, match=r"f1\.png: is annotated, but missing") as error:
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
    annotations = images_from_coco(tmp_path / "a.json")
    assert annotations.names == ("hook",)
    assert annotations.images[0].masks[0].tolist() == [[False, True, False], [True, False, False]]
    coco["annotations"][0]["segmentation"] = {"size": [2, 3], "counts": [1, 2]}  # type: ignore[index]
    (tmp_path / "a.json").write_text(json.dumps(coco))
    (fault,) = images_from_coco(tmp_path / "a.json").faults
    assert "annotation number 1 of a.png (image 7): run lengths cover 3 of 6" in fault.text


def test_the_label_commands(ringed: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "labels.json")
    first = CliRunner().invoke(data, ["export-labels", str(ringed), out, "--format", "coco-rle"])
    assert first.exit_code == 0, first.output
    arguments = ["import-labels", out, str(ringed / "images"), str(tmp_path / "back")]
    assert CliRunner().invoke(data, arguments).exit_code == 0
    assert check_frames(tmp_path / "back").faults == ()


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
    assert check_frames(out).faults == ()
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
