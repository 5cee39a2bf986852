"""Annotations of other tools: names, boxes, sizes, rules of filling, faults all at once."""

from __future__ import annotations

import json
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_helpers import picture
from numpy.typing import NDArray
from PIL import Image

from trocar.contract.classes import IGNORE_INDEX
from trocar.contract.errors import DataError
from trocar.contract.media.pictures import write_picture
from trocar.train.data.annotations.coco import images_from_coco
from trocar.train.data.annotations.exchange import export_labels, import_labels
from trocar.train.data.annotations.regions import fill_polygons_coco
from trocar.train.data.readers import open_frames

H, W = 48, 64
SQUARE = [10.0, 10.0, 20.0, 10.0, 20.0, 20.0, 10.0, 20.0]
SHAFT = [20.3, 7.7, 60.8, 30.2, 60.1, 33.0, 19.9, 10.4]
THREAD = [5.5, 40.5, 60.5, 40.5, 60.5, 42.5, 5.5, 42.5]


def region(number: int, image: int, category: int = 1, **values: Any) -> dict[str, Any]:
    """An annotation of a COCO file."""
    return {"id": number, "image_id": image, "category_id": category, "iscrowd": 0, **values}


def coco(
    folder: Path,
    files: dict[int, str],
    annotations: list[dict[str, Any]],
    *,
    size: tuple[int, int] = (H, W),
    write: bool = True,
) -> Path:
    """Writes a COCO file of two classes, and pictures below ``images/``."""
    images = [
        {"id": i, "file_name": name, "height": size[0], "width": size[1]}
        for i, name in files.items()
    ]
    for i, name in files.items():
        if write:
            write_picture(folder / "images" / name, picture(i, *size))
    categories = [{"id": 1, "name": "grasper"}, {"id": 2, "name": "hook"}]
    file = folder / "ann.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    data = {"images": images, "annotations": annotations, "categories": categories}
    file.write_text(json.dumps(data))
    return file


def masks_of(folder: Path) -> dict[str, NDArray[np.uint8]]:
    """The masks of an imported set by name."""
    frames = open_frames(folder)
    found = {item.name: frames.read(item).mask for item in frames}
    return {name: mask for name, mask in found.items() if mask is not None}


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ("f_000.png", "f_000.png", "image 1 and image 2 have the same file name, f_000.png"),
        ("a.png", "a.jpg", r"image 1 \(a.png\) and image 2 \(a.jpg\) would have the same mask"),
    ],
)
def test_two_images_of_one_name_are_refused(
    first: str, second: str, words: str, tmp_path: Path
) -> None:
    rows = [region(1, 1, segmentation=[SQUARE]), region(2, 2, 2, segmentation=[SHAFT])]
    file = coco(tmp_path, {1: first, 2: second}, rows)
    with pytest.raises(DataError, match=words):
        import_labels(file, tmp_path / "images", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_boxes_without_a_region_are_filled_and_counted(tmp_path: Path) -> None:
    rows = [
        region(4, 1, segmentation=[], bbox=[10, 11, 20, 15]),
        region(5, 2, 2, bbox=[3, 4, 5, 6]),
        region(6, 2, segmentation=[SQUARE], bbox=[0, 0, 1, 1]),
    ]
    file = coco(tmp_path, {1: "0.png", 2: "1.png"}, rows)
    notes = import_labels(file, tmp_path / "images", tmp_path / "out")
    assert notes == ("2 annotations have a box and no region; the boxes are filled: 4, 5",)
    masks = masks_of(tmp_path / "out")
    assert (masks["0"][11:26, 10:30] == 1).all()
    assert [int((masks["0"] > 0).sum()), int((masks["1"] == 2).sum())] == [300, 30]


def test_all_faults_are_named_at_once(tmp_path: Path) -> None:
    rows = [
        region(1, 9, segmentation=[SQUARE]),
        region(2, 1, 7, segmentation=[SQUARE]),
        region(3, 1, segmentation=[SQUARE[:-1]]),
        region(4, 1, segmentation=[]),
        region(5, 1, segmentation=[], bbox=[3, 3, 0, 4]),
        region(6, 1, segmentation=[[*SQUARE[:-1], 1e12]]),
        region(7, 1, segmentation=[[*SQUARE[:-1], float("nan")]]),
    ]
    file = coco(tmp_path, {1: "0.png", 2: "1.png"}, rows)
    (tmp_path / "images" / "1.png").unlink()
    with pytest.raises(DataError, match="8 faults") as error:
        import_labels(file, tmp_path / "images", tmp_path / "out")
    for words in (
        "annotation 1 belongs to image 9, which the file does not list",
        "annotation 2 of 0.png (image 1) has category 7; categories are 1 grasper, 2 hook",
        "annotation 3 of 0.png (image 1): a polygon has 7 numbers",
        "annotation 4 of 0.png (image 1): has neither a segmentation nor a bbox",
        "annotation 5 of 0.png (image 1): has no segmentation, and a bbox of 0x4",
        "annotation 6 of 0.png (image 1): has the coordinate 1e+12",
        "annotation 7 of 0.png (image 1): has the coordinate nan",
        "1.png: is annotated, but missing",
    ):
        assert words in error.value.message
    assert "data check" not in error.value.remedy


@pytest.mark.parametrize(
    ("written", "there"),
    [
        ("images\\a.png", "a.png"),
        ("images/a.png", "a.png"),
        ("C:\\data\\op1\\a.png", "op1/a.png"),
        ("/data/local-files/a.png", "a.png"),
        ("a.png", "op1/a.png"),
        ("a.jpg", "deep/op1/a.png"),
    ],
)
def test_names_with_other_folders_in_front(written: str, there: str, tmp_path: Path) -> None:
    file = coco(tmp_path, {1: written}, [region(1, 1, segmentation=[SQUARE])], write=False)
    write_picture(tmp_path / "images" / there, picture(1, H, W))
    import_labels(file, tmp_path / "images", tmp_path / "out")
    assert list(masks_of(tmp_path / "out")) == [there.removesuffix(".png")]


def test_names_that_fit_several_or_another_folder_are_refused(tmp_path: Path) -> None:
    for name in ("op1/a.png", "op2/a.png", "op2/b.png"):
        write_picture(tmp_path / "images" / name, picture(1, H, W))
    file = coco(tmp_path, {1: "a.png", 2: "op1/b.png"}, [], write=False)
    with pytest.raises(DataError, match="2 faults") as error:
        import_labels(file, tmp_path / "images", tmp_path / "out")
    assert "a.png fits 2 pictures" in error.value.message
    assert "op1/b.png: is annotated, but missing" in error.value.message


def test_a_size_that_exif_swaps_is_accepted(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "images").mkdir()
    for name in ("0", "1"):
        stored = Image.fromarray(picture(1, H, W))
        stored.save(tmp_path / "images" / f"{name}.jpg", exif=exif)
    tall = [5, 50, 15, 50, 15, 60, 5, 60]  # within the displayed 48x64 alone
    file = coco(tmp_path, {1: "0.jpg"}, [region(1, 1, segmentation=[tall])], write=False)
    (note,) = import_labels(file, tmp_path / "images", tmp_path / "out")
    assert note.startswith("1 pictures are turned by their EXIF orientation")
    mask = masks_of(tmp_path / "out")["0"]
    assert mask.shape == (W, H)
    assert (mask[50:60, 5:15] == 1).all()
    assert int(mask.sum()) == 100
    wide = [50, 5, 60, 5, 60, 15, 50, 15]  # within the stored 64x48 alone
    file = coco(tmp_path, {1: "1.jpg"}, [region(1, 1, segmentation=[wide])], write=False)
    with pytest.raises(DataError, match="shapes are those of the stored picture"):
        import_labels(file, tmp_path / "images", tmp_path / "other")


def inside(polygon: list[float], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels whose centre lies in a convex polygon: an independent rule for straight edges."""
    points = np.array(polygon).reshape(-1, 2)
    x, y = np.meshgrid(np.arange(size[1]) + 0.5, np.arange(size[0]) + 0.5)
    sides = [
        (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0) > 0
        for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, 0), strict=True)
    ]
    return np.logical_and.reduce(sides)


def test_polygons_of_other_tools_are_filled_by_the_rule_of_coco(tmp_path: Path) -> None:
    from pycocotools import mask as reference

    polygons = {"0.png": SQUARE, "1.png": SHAFT, "2.png": THREAD}
    rows = [region(i, i, segmentation=[p]) for i, p in enumerate(polygons.values(), 1)]
    file = coco(tmp_path, dict(enumerate(polygons, 1)), rows)
    import_labels(file, tmp_path / "images", tmp_path / "out")
    masks = masks_of(tmp_path / "out")
    for name, polygon in polygons.items():
        runs = reference.merge(reference.frPyObjects([polygon], H, W))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # its own, of NumPy 2
            expected = reference.decode(runs)
        assert np.array_equal(masks[name[0]], expected)
    assert int(masks["0"].sum()) == 100
    assert np.array_equal(masks["0"] > 0, inside(SQUARE, (H, W)))
    assert abs(int(masks["2"].sum()) - 110) <= 1  # 55 x 2, where 168 were filled before


def test_polygons_of_trocar_are_those_of_every_tool(tmp_path: Path) -> None:
    file = coco(tmp_path, {1: "0.png"}, [region(1, 1, segmentation=[SHAFT, SQUARE])])
    import_labels(file, tmp_path / "images", tmp_path / "first")
    export_labels(open_frames(tmp_path / "first"), tmp_path / "own.json", kind="coco")
    import_labels(tmp_path / "own.json", tmp_path / "images", tmp_path / "second")
    first, second = masks_of(tmp_path / "first")["0"], masks_of(tmp_path / "second")["0"]
    assert np.array_equal(first, second)
    data = json.loads((tmp_path / "own.json").read_text())
    del data["info"]  # as another tool would write it
    (tmp_path / "other.json").write_text(json.dumps(data))
    import_labels(tmp_path / "other.json", tmp_path / "images", tmp_path / "third")
    assert np.array_equal(masks_of(tmp_path / "third")["0"], first)
    # Trocar 0.1 wrote polygons through the centres of pixels, and said so.
    data["info"] = {"contributor": "Trocar", "description": "polygons run through pixel centres"}
    data["annotations"] = [region(1, 1, segmentation=[SQUARE])]
    (tmp_path / "old.json").write_text(json.dumps(data))
    import_labels(tmp_path / "old.json", tmp_path / "images", tmp_path / "old")
    assert int((masks_of(tmp_path / "old")["0"] > 0).sum()) == 11 * 11


def test_polygons_beyond_the_image_are_cut_off() -> None:
    polygon = np.array([(-5.0, -5.0), (-5.0, 4.0), (70.0, 4.0), (70.0, -5.0)])
    mask = fill_polygons_coco([polygon], (H, W))
    assert mask[:4].all()
    assert not mask[4:].any()


def test_one_mask_is_in_memory_at_a_time(tmp_path: Path) -> None:
    size, count = (400, 500), 12
    files = {i: f"{i}.png" for i in range(1, count + 1)}
    rows = [region(4 * i + k, i, segmentation=[SQUARE]) for i in files for k in range(4)]
    file = coco(tmp_path, files, rows, size=size)
    pixels = size[0] * size[1]
    tracemalloc.start()
    annotations = images_from_coco(file)
    after_reading, _ = tracemalloc.get_traced_memory()
    import_labels(file, tmp_path / "images", tmp_path / "out")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(annotations.images) == count
    assert after_reading < 2 * pixels  # all masks are 48 times the pixels
    assert peak < 12 * pixels  # one picture in colour, its copies, a few masks


def test_labels_that_are_no_classes(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", picture(1, H, W))
    shapes = [
        {"label": label, "points": [[x, 5], [x + 9, 5], [x + 9, 14], [x, 14]]}
        for label, x in (("hook", 5), ("__ignore__", 20), ("hook", 35), ("_background_", 38))
    ]
    data = {"shapes": shapes, "imageHeight": H, "imageWidth": W, "imagePath": "a.png"}
    (tmp_path / "a.json").write_text(json.dumps(data))
    import_labels(tmp_path / "a.json", tmp_path, tmp_path / "out")
    assert open_frames(tmp_path / "out").table.names == ("background", "hook")
    row = masks_of(tmp_path / "out")["a"][8]
    assert row[[5, 14, 15, 20, 29, 35, 37, 38, 47]].tolist() == [
        1, 1, 0, IGNORE_INDEX, IGNORE_INDEX, 1, 1, 0, 0,
    ]  # fmt: skip
