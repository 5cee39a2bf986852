"""Polygons mean what COCO, CVAT and LabelMe mean by them; regions and instances come back."""

from __future__ import annotations

import json
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Iterable
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
from PIL import Image, ImageDraw

from trocar.commands.data import data
from trocar.contract.errors import DataError, SinkError
from trocar.contract.media.pictures import write_picture
from trocar.train.data.annotations import exchange
from trocar.train.data.annotations.exchange import export_labels, import_labels
from trocar.train.data.annotations.labelme import Shape, draw_shape
from trocar.train.data.annotations.regions import edge_polygons_of, polygons_of, regions_of
from trocar.train.data.readers import open_frames
from trocar.train.data.tools.convert import import_frames

MASKS = arrays(np.uint8, (9, 12), elements=st.integers(0, 2))
COORDINATES = st.floats(-20, 60)
Mask = NDArray[np.bool_]


def filled_by_pycocotools(polygons: Iterable[Iterable[float]], size: tuple[int, int]) -> Mask:
    """What pycocotools makes of the polygons of one annotation, as its ``annToMask`` does."""
    from pycocotools import mask as coco

    runs = coco.merge(coco.frPyObjects([list(polygon) for polygon in polygons], *size))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of NumPy 2, in pycocotools
        return np.asarray(coco.decode(runs) > 0)


def filled_by_labelme(points: list[list[float]], size: tuple[int, int]) -> Mask:
    """What LabelMe makes of a polygon: Pillow's, with its outline, on the whole picture."""
    canvas = Image.fromarray(np.zeros(size, np.uint8))
    ImageDraw.Draw(canvas).polygon([(x, y) for x, y in points], outline=1, fill=1)
    return np.asarray(canvas) > 0


@settings(max_examples=80, deadline=None)
@given(MASKS)
def test_written_polygons_are_the_masks_in_pycocotools_and_labelme(mask: NDArray[np.uint8]) -> None:
    for region in regions_of(mask):
        edges = [polygon.ravel() for polygon in edge_polygons_of(region.mask)]
        assert np.array_equal(filled_by_pycocotools(edges, mask.shape), region.mask)
        union = np.zeros(mask.shape, bool)
        for polygon in polygons_of(region.mask):
            union |= filled_by_labelme(polygon.tolist(), mask.shape)
        assert np.array_equal(union, region.mask)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.floats(-20, 60), st.floats(-20, 60)), min_size=3, max_size=7))
def test_labelme_polygons_are_drawn_as_labelme_draws_them(
    points: list[tuple[float, float]],
) -> None:
    mask = np.zeros((24, 32), np.uint8)
    draw_shape(mask, Shape(label="a", group=None, points=np.array(points)), 1)
    assert np.array_equal(mask > 0, filled_by_labelme([list(p) for p in points], (24, 32)))


def shafts(root: Path) -> Path:
    """A set of slanted bands with a hole, as annotators meet them."""
    y, x = np.mgrid[:60, :80]
    for i in range(2):
        band = np.abs((x - 40) * np.sin(0.6 + i) - (y - 30) * np.cos(0.6 + i)) < 7
        mask = np.where(band, 1, 0).astype(np.uint8)
        mask[(x - 40) ** 2 + (y - 30) ** 2 < 9] = 0
        mask[2:8, 60:78] = 2
        write_picture(root / "images" / f"f{i}.png", picture(i, 60, 80))
        write_picture(root / "masks" / f"f{i}.png", mask)
    TABLE.write(root / "classes.toml")
    return root


@pytest.mark.parametrize("kind", ["coco", "cvat", "labelme"])
def test_areas_survive_another_tool(kind: str, tmp_path: Path) -> None:
    """Each file is read by independent code, and by Trocar, and has the exported area."""
    frames = open_frames(shafts(tmp_path / "set"))
    out = tmp_path / ("labels.json" if kind == "coco" else "labels.xml" if kind == "cvat" else "l")
    export_labels(frames, out, kind=kind)
    for item in frames:
        mask = frames.read(item).mask
        assert mask is not None
        for class_id, name in ((1, "grasper"), (2, "scissors")):
            theirs = READ[kind](out, f"{item.name}.png", name)
            assert np.array_equal(theirs, mask == class_id)
    import_labels(out, tmp_path / "set" / "images", tmp_path / "back")
    back = open_frames(tmp_path / "back")
    assert back.instances is None  # the set has none, so its regions are none
    for item in frames:
        (again,) = [back.read(one).mask for one in back if one.name == item.name]
        assert np.array_equal(again, frames.read(item).mask)


def read_coco(file: Path, name: str, label: str) -> Mask:
    document = json.loads(file.read_text())
    (image,) = [one for one in document["images"] if one["file_name"] == name]
    (category,) = [one["id"] for one in document["categories"] if one["name"] == label]
    union = np.zeros((60, 80), bool)
    for one in document["annotations"]:
        if (one["image_id"], one["category_id"]) == (image["id"], category):
            union |= filled_by_pycocotools(one["segmentation"], (60, 80))
    return union


def read_cvat(file: Path, name: str, label: str) -> Mask:
    union = np.zeros((60, 80), bool)
    for image in ET.parse(file).getroot().iter("image"):
        for one in image.iter("polygon"):
            if (image.get("name"), one.get("label")) == (name, label):
                numbers = one.attrib["points"].replace(";", ",").split(",")
                union |= filled_by_pycocotools([map(float, numbers)], (60, 80))
    return union


def read_labelme(folder: Path, name: str, label: str) -> Mask:
    union = np.zeros((60, 80), bool)
    for one in json.loads((folder / name).with_suffix(".json").read_text())["shapes"]:
        if one["label"] == label:
            union |= filled_by_labelme(one["points"], (60, 80))
    return union


READ = {"coco": read_coco, "cvat": read_cvat, "labelme": read_labelme}


@pytest.mark.parametrize("kind", exchange.KINDS)
def test_instances_come_back(kind: str, tmp_path: Path) -> None:
    frames = open_frames(layouts.cholec_instance_seg(tmp_path / "set"))
    names = [item.name for item in frames.items[:2]]
    out = tmp_path / ("labels.xml" if kind.startswith("cvat") else "labels.json")
    export_labels(frames.only(names), out, kind=kind)
    pictures = tmp_path / "pictures"
    for item in frames.only(names):
        write_picture(pictures / f"{item.name}.png", frames.read(item).image)
    import_labels(out, pictures, tmp_path / "back")
    back = open_frames(tmp_path / "back")
    for item in frames.only(names):
        (again,) = [one for one in back if one.name == item.name]
        first, second = frames.instance_map(item, (60, 80)), back.instance_map(again, (60, 80))
        assert first is not None
        assert second is not None
        # Two far squares are one instance; the numbers may be in another order.
        pairs = {(int(a), int(b)) for a, b in zip(first.ravel(), second.ravel(), strict=True)}
        assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}) == 3
        assert (0, 0) in pairs
    words = ["import-labels", str(out), str(pictures), str(tmp_path / "none"), "--no-instances"]
    assert CliRunner().invoke(data, words).exit_code == 0
    assert not (tmp_path / "none" / "instances").exists()


def test_an_import_of_labels_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = image_and_mask_folder(tmp_path / "set")
    export_labels(open_frames(root), tmp_path / "labels.json", kind="coco-rle")
    written: list[str] = []
    broken = {"f2.png"}

    def write(path: Path, content: bytes) -> None:
        if path.name in broken:
            raise OSError("no space left on device")
        written.append(path.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    monkeypatch.setattr(exchange, "write_atomic", write)
    out = tmp_path / "out"
    with pytest.raises(SinkError, match="no space left") as error:
        import_labels(tmp_path / "labels.json", root / "images", out)
    assert "run the same command again" in error.value.remedy
    assert not out.exists()
    assert written == ["f0.png", "f1.png"]
    broken.clear()
    written.clear()
    write_picture(root / "images" / "f1.png", picture(77))  # changed since: it is written again
    stages: list[tuple[str, int, int]] = []
    import_labels(
        tmp_path / "labels.json", root / "images", out, progress=lambda *s: stages.append(s)
    )
    assert written == ["f1.png", "f2.png", "f3.png"]
    assert stages == [(s, n, 4) for s in ("finding", "writing") for n in range(1, 5)]
    assert not list(tmp_path.glob(".out*"))
    assert sorted(path.name for path in out.iterdir()) == ["classes.toml", "images", "masks"]
    first, second = open_frames(root), open_frames(out)
    assert np.array_equal(second.read(second.items[1]).image, picture(77))
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(first.read(one).mask, second.read(other).mask)


def test_an_interrupted_command_says_that_it_can_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = image_and_mask_folder(tmp_path / "set")
    export_labels(open_frames(root), tmp_path / "labels.json", kind="coco")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(exchange, "_write_picture", stop)
    monkeypatch.setattr("trocar.train.data.tools.convert._write_one", stop)
    labels = ["import-labels", str(tmp_path / "labels.json"), str(root / "images")]
    for words in (labels, ["import", str(root)]):
        done = CliRunner().invoke(data, [*words, str(tmp_path / "out")])
        assert done.exit_code != 0
        assert "the same command continues" in done.output
        assert not list(tmp_path.glob("*out*"))  # nothing was finished


def test_a_folder_of_somebody_else_is_not_written_into(tmp_path: Path) -> None:
    root = image_and_mask_folder(tmp_path / "set")
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / ".out.partial" / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match=r"\.out\.partial is in the way"):
        import_frames(open_frames(root), tmp_path / "out")
    assert (tmp_path / ".out.partial" / "notes.txt").read_text() == "mine"
