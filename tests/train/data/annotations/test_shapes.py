"""Shapes and tracks of CVAT, shapes of LabelMe."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from data_helpers import picture
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from trocar.commands.data import data
from trocar.contract.errors import DataError
from trocar.contract.media.pictures import encode_picture, write_picture
from trocar.train.data.annotations.exchange import import_labels
from trocar.train.data.readers import open_frames

H, W = 40, 60


def masks_of(folder: Path) -> dict[str, NDArray[np.uint8]]:
    """The masks of an imported set by name."""
    frames = open_frames(folder)
    found = {item.name: frames.read(item).mask for item in frames}
    return {name: mask for name, mask in found.items() if mask is not None}


def cvat(folder: Path, body: str, pictures: list[str], meta: str = "") -> Path:
    """Writes a CVAT file and its pictures."""
    for number, name in enumerate(pictures):
        write_picture(folder / "images" / name, picture(number, H, W))
    file = folder / "annotations.xml"
    file.write_text(f"<annotations><version>1.1</version><meta>{meta}</meta>{body}</annotations>")
    return file


def image(shapes: str, name: str = "a.png", number: int = 0) -> str:
    """An image of a CVAT file."""
    return f'<image id="{number}" name="{name}" width="{W}" height="{H}">{shapes}</image>'


def pixel_centres() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """x and y of the pixel centres, ``[H, W]`` each."""
    x, y = np.meshgrid(np.arange(W) + 0.5, np.arange(H) + 0.5)
    return x, y


# CVAT for images


def test_ellipses_turned_boxes_and_coordinates_beyond_the_image(tmp_path: Path) -> None:
    shapes = {
        "a": '<ellipse label="hook" cx="30" cy="20" rx="12" ry="5" rotation="30"/>',
        "b": '<box label="hook" xtl="10" ytl="10" xbr="40" ybr="20" rotation="90.00"/>',
        "c": '<box label="hook" xtl="-5.2" ytl="-3" xbr="8" ybr="90"/>',
        "d": '<polygon label="hook" points="-9,-9;9,-9;9,9;-9,9"/>',
        "e": '<box label="hook" xtl="-20" ytl="-20" xbr="-3" ybr="-3"/>',
    }
    body = "".join(image(shape, f"{name}.png") for name, shape in shapes.items())
    file = cvat(tmp_path, body, [f"{name}.png" for name in shapes])
    import_labels(file, tmp_path / "images", tmp_path / "out")
    masks = {name: mask > 0 for name, mask in masks_of(tmp_path / "out").items()}
    x, y = pixel_centres()
    turned = np.exp(-1j * np.radians(30)) * (x - 30 + 1j * (y - 20))
    assert np.array_equal(masks["a"], (turned.real / 12) ** 2 + (turned.imag / 5) ** 2 <= 1)
    assert abs(int(masks["a"].sum()) - np.pi * 60) < 6
    assert np.array_equal(masks["b"], (np.abs(x - 25) < 5) & (np.abs(y - 15) < 15))
    assert np.array_equal(masks["c"], x < 8)
    assert np.array_equal(masks["d"], (x < 9) & (y < 9))
    assert not masks["e"].any()


def test_shapes_without_area_are_listed_at_once(tmp_path: Path) -> None:
    line = '<polyline label="needle" points="1,1;9,9"/>'
    body = image(line) + image(
        line + '<cuboid label="box"/><polygon label="hook" points="1,1;5,x;5,5"/>'
        '<points label="tip" points="1,1"/><polygon label="hook" points="1,1;5,5"/>',
        "b.png",
        1,
    )
    file = cvat(tmp_path, body, ["a.png", "b.png"])
    with pytest.raises(DataError, match="5 faults") as error:
        import_labels(file, tmp_path / "images", tmp_path / "out")
    for words in (
        "a.png (image 0), shape 1: a polyline of 'needle' has no area",
        "b.png (image 1), shape 1: a polyline of 'needle' has no area",
        "b.png (image 1), shape 2: a cuboid of 'box' has no area",
        "b.png (image 1), shape 3, a polygon: could not convert string",
        "b.png (image 1), shape 5, a polygon: has 2 points, needs 3",
    ):
        assert words in error.value.message


def test_lines_can_be_left_out(tmp_path: Path) -> None:
    body = image(
        '<polyline label="needle" points="1,1;9,9"/><points label="tip" points="1,1"/>'
        '<box label="hook" xtl="1" ytl="2" xbr="6" ybr="8"/>'
    )
    file = cvat(tmp_path, body, ["a.png"])
    words = ["import-labels", str(file), str(tmp_path / "images"), str(tmp_path / "out")]
    assert CliRunner().invoke(data, words).exit_code != 0
    done = CliRunner().invoke(data, [*words, "--skip-lines"])
    assert done.exit_code == 0, done.output
    assert "note: 1 shapes are polyline, have no area and are left out: 'needle'" in done.output
    assert "note: 1 shapes are points, have no area and are left out: 'tip'" in done.output
    assert int(masks_of(tmp_path / "out")["a"].sum()) == 30


# CVAT for video


def box(frame: int, left: float, *, outside: int = 0, label: str = "") -> str:
    """A box of 10 x 6 pixels in one frame of a track."""
    return (
        f'<box frame="{frame}" keyframe="1" outside="{outside}" occluded="0" xtl="{left}" '
        f'ytl="4" xbr="{left + 10}" ybr="10" z_order="0"/>{label}'
    )


def test_tracks_are_interpolated_and_outside_is_honoured(tmp_path: Path) -> None:
    body = (
        f'<track id="0" label="hook">{box(0, 2)}{box(4, 22)}{box(5, 22, outside=1)}'
        f"{box(7, 40)}</track>"
        '<track id="1" label="grasper">'
        '<polygon frame="1" outside="0" keyframe="1" points="0,20;9,20;9,29;0,29" z_order="1"/>'
        '<polygon frame="3" outside="0" keyframe="1" points="20,20;29,20;29,29;20,29"/>'
        '<polygon frame="4" outside="1" keyframe="1" points="20,20;29,20;29,29;20,29"/></track>'
    )
    meta = (
        "<task><size>9</size><original_size>"
        f"<width>{W}</width><height>{H}</height></original_size></task>"
    )
    file = cvat(tmp_path, body, [f"frame_{i:06d}.PNG" for i in range(9)], meta)
    assert import_labels(file, tmp_path / "images", tmp_path / "out") == ()
    masks = masks_of(tmp_path / "out")
    assert len(masks) == 9
    hook, grasper = (open_frames(tmp_path / "out").table[n].id for n in ("hook", "grasper"))
    x, y = pixel_centres()
    for frame, left in {0: 2, 1: 7, 2: 12, 3: 17, 4: 22, 5: None, 6: None, 7: 40, 8: 40}.items():
        inside = masks[f"frame_{frame:06d}"] == hook
        band = (y > 4) & (y < 10)
        expected = band & (x > left) & (x < left + 10) if left is not None else band & False
        assert np.array_equal(inside, expected), frame
    for frame, left in {0: None, 1: 0, 2: 10, 3: 20, 4: None, 5: None}.items():
        columns = np.flatnonzero((masks[f"frame_{frame:06d}"] == grasper).any(0))
        assert columns.tolist() == ([] if left is None else list(range(left, left + 9)))


def test_tracks_without_a_picture_or_with_two_are_refused(tmp_path: Path) -> None:
    body = f'<track id="0" label="hook">{box(0, 2)}{box(1, 4)}{box(2, 4, outside=1)}</track>'
    file = cvat(tmp_path, body, ["video_0.png"])
    with pytest.raises(DataError, match="frame_000001: is annotated, but missing"):
        import_labels(file, tmp_path / "images", tmp_path / "out")
    write_picture(tmp_path / "images" / "video_1.png", picture(1, H, W))
    import_labels(file, tmp_path / "images", tmp_path / "out")
    assert sorted(masks_of(tmp_path / "out")) == ["video_0", "video_1"]
    write_picture(tmp_path / "images" / "other_1.png", picture(1, H, W))
    with pytest.raises(DataError, match="frame_000001 fits 2 pictures"):
        import_labels(file, tmp_path / "images", tmp_path / "other")


def test_pictures_that_count_from_one_are_not_taken_for_frames_from_zero(tmp_path: Path) -> None:
    body = f'<track id="0" label="hook">{box(1, 2)}{box(2, 4, outside=1)}</track>'
    names = [f"frame_{i:06d}.png" for i in (1, 2, 3)]
    file = cvat(tmp_path, body, names, "<task><size>3</size></task>")
    with pytest.raises(DataError, match="pictures count from 1"):
        import_labels(file, tmp_path / "images", tmp_path / "out")


def test_a_file_without_images_or_tracks_is_refused(tmp_path: Path) -> None:
    file = cvat(tmp_path, "", ["a.png"])
    with pytest.raises(DataError, match="has no annotated image"):
        import_labels(file, tmp_path / "images", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# LabelMe


def labelme(folder: Path, name: str, shapes: list[dict[str, Any]]) -> None:
    """Writes a picture and its LabelMe file."""
    write_picture(folder / f"{name}.png", picture(1, H, W))
    head = {"imageHeight": H, "imageWidth": W, "imagePath": f"{name}.png", "shapes": shapes}
    (folder / f"{name}.json").write_text(json.dumps(head))


def shape(kind: str, points: list[list[float]], **values: Any) -> dict[str, Any]:
    """A shape of the label ``hook``."""
    return {"label": "hook", "shape_type": kind, "points": points, "group_id": None, **values}


def test_labelme_masks_circles_and_rectangles(tmp_path: Path) -> None:
    inside = np.random.default_rng(0).integers(0, 2, (11, 21), dtype=np.uint8)
    text = base64.b64encode(encode_picture(inside * np.uint8(255), ".png")).decode()
    labelme(tmp_path / "in", "mask", [shape("mask", [[20, 5], [40, 15]], mask=text)])
    labelme(tmp_path / "in", "beyond", [shape("mask", [[-4, 34], [16, 44]], mask=text)])
    labelme(tmp_path / "in", "circle", [shape("circle", [[30, 20], [36, 28]])])
    corners = [[10, 5], [20, 5], [20, 9], [10, 9]]
    labelme(
        tmp_path / "in",
        "four",
        [shape("rectangle", corners), shape("rotation", [[5, 0], *corners])],
    )
    labelme(tmp_path / "in", "two", [shape("rectangle", [[20, 9], [10, 5]])])
    import_labels(tmp_path / "in", tmp_path / "in", tmp_path / "out")
    masks = masks_of(tmp_path / "out")
    expected = np.zeros((H, W), np.uint8)
    expected[5:16, 20:41] = inside
    assert np.array_equal(masks["mask"], expected)
    expected = np.zeros((H, W), np.uint8)
    expected[34:40, :17] = inside[:6, 4:]
    assert np.array_equal(masks["beyond"], expected)
    drawn = Image.new("L", (W, H))
    ImageDraw.Draw(drawn).ellipse([20, 10, 40, 30], fill=1, outline=1)
    assert np.array_equal(masks["circle"], np.asarray(drawn))
    assert int(masks["two"].sum()) == 11 * 5
    assert (masks["four"][5:10, 10:21] == 1).all()


def test_labelme_shapes_without_area_are_listed_at_once(tmp_path: Path) -> None:
    square = shape("polygon", [[1, 1], [9, 1], [9, 9], [1, 9]])
    labelme(
        tmp_path / "in", "a", [square, shape("linestrip", [[1, 1], [5, 5], [9, 1]], label="thread")]
    )
    labelme(tmp_path / "in", "b", [square, shape("line", [[1, 1], [5, 5]], label="needle")])
    labelme(tmp_path / "in", "c", [square, shape("point", [[1, 1]], label="tip")])
    labelme(tmp_path / "in", "d", [shape("mask", [[1, 1], [5, 5]], mask="?")])
    with pytest.raises(DataError, match="3 faults") as error:
        import_labels(tmp_path / "in", tmp_path / "in", tmp_path / "out")
    for words in ("a.json: 1 lines have no area: thread", "b.json: 1 lines", "d.json: shape 1: a"):
        assert words in error.value.message
    assert "--skip-lines" in error.value.remedy
    (tmp_path / "in" / "d.json").unlink()
    notes = import_labels(tmp_path / "in", tmp_path / "in", tmp_path / "out", skip_lines=True)
    assert notes == (
        "1 points have no area and are left out: 'tip' in c.json",
        "2 lines have no area and are left out: 'thread' in a.json, 'needle' in b.json",
    )
    assert {int(mask.sum()) for mask in masks_of(tmp_path / "out").values()} == {81}
