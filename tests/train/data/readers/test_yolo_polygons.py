"""YOLO polygons: both layouts, the rule of filling, mixed lines."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from data_helpers import picture
from numpy.typing import NDArray

from trocar.contract.errors import DataError
from trocar.contract.media.pictures import write_picture
from trocar.train.data.readers import open_frames, recognise, yolo, yolo_polygons
from trocar.train.data.tools.check import check_frames

H, W = 40, 60
ROWS = (
    "1 0.1 0.1 0.9 0.1 0.9 0.5 0.1 0.5\n0 0.30 0.2 0.71 0.33 0.52 0.875\n",
    "0 0.25 0.5 0.75 0.5 0.75 1.0 0.5 1.001\n",
    "",
)


def yolo_set(root: Path, layout: str, rows: tuple[str, ...] = ROWS) -> Path:
    """Writes a set of ``train`` and ``val`` with one text file for each text."""
    for folder in ("train", "val" if layout == "ultralytics" else "valid"):
        for number, text in enumerate(rows):
            places = {
                "ultralytics": (root / "images" / folder, root / "labels" / folder),
                "roboflow": (root / folder / "images", root / folder / "labels"),
            }
            images, labels = places[layout]
            seed = number + 10 * (folder == "train")
            write_picture(images / f"{number}.png", picture(seed, H, W))
            labels.mkdir(parents=True, exist_ok=True)
            (labels / f"{number}.txt").write_text(text)
    (root / "data.yaml").write_text("train: a\nval: b\nnc: 2\nnames: ['grasper', 'hook']\n")
    return root


def painted(text: str) -> NDArray[np.uint8]:
    """The mask of a text file, by pycocotools itself."""
    from pycocotools import mask as reference

    mask = np.zeros((H, W), np.uint8)
    for line in text.splitlines():
        index, *numbers = line.split()
        flat = [float(v) * (H if i % 2 else W) for i, v in enumerate(numbers)]
        runs = reference.merge(reference.frPyObjects([flat], H, W))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # its own, of NumPy 2
            mask[reference.decode(runs) > 0] = int(index) + 1
    return mask


@pytest.mark.parametrize("layout", ["ultralytics", "roboflow"])
def test_polygons_are_read_as_masks(layout: str, tmp_path: Path) -> None:
    root = yolo_set(tmp_path, layout)
    frames = open_frames(root)
    assert recognise(root)[0] is yolo_polygons
    assert frames.table.names == ("background", "grasper", "hook")
    assert {split: len(names) for split, names in frames.splits.items()} == {"train": 3, "val": 3}
    for item in frames:
        assert np.array_equal(frames.read(item).mask, painted(ROWS[int(item.name[-1])]))
    assert frames.instances is not None
    numbers = frames.instances(frames.items[0])
    assert np.array_equal(numbers > 0, painted(ROWS[0]) > 0)
    assert np.unique(numbers).tolist() == [0, 1, 2]
    report = check_frames(root)
    assert report.faults == ()
    assert report.labelled == 6


def test_images_without_a_text_file_show_no_instrument_and_are_counted(tmp_path: Path) -> None:
    root = yolo_set(tmp_path, "ultralytics")
    (root / "labels" / "val" / "1.txt").unlink()
    report = check_frames(root)
    assert report.faults == ()
    assert report.notes == ("1 images have no text file, so they show no instrument: 1.png",)
    frames = open_frames(root)
    assert not frames.read(next(i for i in frames if i.name == "val/1")).mask.any()  # type: ignore[union-attr]


def test_lines_that_are_no_polygons_are_all_named(tmp_path: Path) -> None:
    rows = (
        ROWS[0] + "0 0.5 0.5 0.2 0.2\n",
        "5 0.1 0.1 0.2 0.1 0.2 0.2\n0 0.1 0.1 0.2 0.1 0.2\n0 0.1 0.1 0.2 0.1 0.2 7\n",
    )
    root = yolo_set(tmp_path, "roboflow", rows)
    texts = [fault.text for fault in check_frames(root).faults]
    for words in (
        "line 3 is a box, other lines are polygons; a set holds either of them",
        "line 1 has the class 5, data.yaml names 0 to 1",
        "line 2 has 5 coordinates, expected x and y of 3 points or more",
        "line 3 has a coordinate outside 0 to 1",
    ):
        assert sum(words in text for text in texts) >= 2
    with pytest.raises(DataError, match="is a box, other lines are polygons"):
        open_frames(root)


def test_boxes_stay_boxes(tmp_path: Path) -> None:
    root = yolo_set(tmp_path / "set", "roboflow", ("0 0.5 0.5 0.2 0.2\n", "1 0.5 0.5 0.2 0.2\n"))
    assert recognise(root)[0] is yolo
    other = yolo_set(tmp_path / "other", "ultralytics", ("0 0.5 0.5 0.2 0.2\n",))
    with pytest.raises(DataError, match="a set of YOLO boxes as Ultralytics arranges it"):
        open_frames(other)


def test_a_set_without_names_is_refused(tmp_path: Path) -> None:
    root = yolo_set(tmp_path, "ultralytics")
    (root / "data.yaml").unlink()
    with pytest.raises(DataError, match=r"data\.yaml: is missing"):
        open_frames(root)
