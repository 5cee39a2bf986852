"""Poisson editing: labels move by the identical shift, cloning is OpenCV's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from data_helpers import TABLE, image_and_mask_folder, labels, picture
from hypothesis import given, settings
from hypothesis import strategies as st

from trocar.commands.data import data
from trocar.contract.errors import (
    ArgumentError,
    ConfigError,
    DataError,
    OutputExistsError,
)
from trocar.contract.media.pictures import read_image, write_picture
from trocar.train.data.compositing.foregrounds import (
    Foreground,
    cut_out,
    foregrounds_from_frames,
)
from trocar.train.data.compositing.matting import (
    Box,
    chroma_key,
    foreground_from_box,
    foregrounds_from_boxes,
    read_boxes,
)
from trocar.train.data.compositing.poisson import (
    Composite,
    PlacementConfig,
    draw_placement,
    paste,
)
from trocar.train.data.compositing.write import read_foregrounds
from trocar.train.data.io.images import read_raw_mask
from trocar.train.data.readers import open_frames
from trocar.train.data.sample import Sample


def foreground(height: int = 60, width: int = 80) -> Foreground:
    mask = np.zeros((height, width), np.uint8)
    mask[20:40, 25:55] = 1
    mask[28:34, 45:60] = 2
    return Foreground(name="f", image=picture(1, height, width), mask=mask)


def background(height: int = 60, width: int = 80) -> Sample:
    return Sample(
        name="b", image=picture(2, height, width), mask=np.zeros((height, width), np.uint8)
    )


@pytest.mark.parametrize("mode", ["normal", "mixed"])
@pytest.mark.parametrize("margin", [-2, 0, 3])
def test_the_picture_is_seamless_clones_and_the_label_moves_by_the_shift(
    mode: str, margin: int
) -> None:
    front, back, (dy, dx) = foreground(), background(), (7, -9)
    out = paste(back, front, shift=(dy, dx), mode=mode, margin=margin)  # type: ignore[arg-type]
    element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * abs(margin) + 1,) * 2)
    solid = (front.mask > 0).astype(np.uint8)
    kept = cv2.erode(solid, element) if margin < 0 else solid
    region = cv2.dilate(solid, element) if margin > 0 else kept
    # From the source's own coordinates: the point is the centre of the mask's bounding box.
    x, y, w, h = cv2.boundingRect(region)
    flag = cv2.NORMAL_CLONE if mode == "normal" else cv2.MIXED_CLONE
    point = (x + dx + w // 2, y + dy + h // 2)
    expected = cv2.seamlessClone(front.image, back.image, region * 255, point, flag)
    assert np.array_equal(out.image, expected)
    moved = np.roll(np.where(kept > 0, front.mask, 0), (dy, dx), (0, 1))
    assert out.mask is not None
    assert np.array_equal(out.mask, moved)
    assert {1, 2} <= set(np.unique(moved).tolist())


def test_the_changed_pixels_lie_where_the_label_says() -> None:
    # A foreground much brighter than the background: where the picture brightens, the label is.
    front = foreground()
    image = np.full_like(front.image, 60)
    image[front.mask > 0] = 250
    back = replace(background(), image=np.full((60, 80, 3), 60, np.uint8))
    for shift in [(0, 0), (11, 5), (-13, -20), (-4, 17)]:
        out = paste(back, replace(front, image=image), shift=shift, margin=5)
        assert out.mask is not None
        bright = out.image[..., 0] > 150
        assert np.array_equal(bright, out.mask > 0), shift


@settings(max_examples=60, deadline=None)
@given(
    shift=st.tuples(st.integers(-90, 90), st.integers(-110, 110)),
    margin=st.integers(-3, 6),
)
def test_any_shift_leaves_labels_cut_off_at_the_border(shift: tuple[int, int], margin: int) -> None:
    front, back = foreground(), background()
    out = paste(back, front, shift=shift, margin=margin)
    assert out.mask is not None
    assert out.image.shape == back.image.shape
    dy, dx = shift
    whole = np.zeros((60 * 5, 80 * 5), np.uint8)
    whole[120 + dy : 180 + dy, 160 + dx : 240 + dx] = front.mask
    inside = whole[120:180, 160:240]
    if margin > 0:
        assert np.array_equal(out.mask, inside)
    else:
        assert np.isin(out.mask[out.mask != inside], 0).all()


def test_an_instrument_keeps_its_colour_up_to_the_border() -> None:
    front = foreground()
    image = np.full_like(front.image, 60)
    image[front.mask > 0] = 250
    back = replace(background(), image=np.full((60, 80, 3), 60, np.uint8))
    out = paste(back, replace(front, image=image), shift=(-30, -40))
    assert out.mask is not None
    assert out.mask[0, 0] == 1
    assert np.array_equal(out.image[..., 0] > 200, out.mask > 0)


def test_labels_of_the_background_stay_and_unlabelled_ones_are_ignored() -> None:
    old = np.full((60, 80), 1, np.uint8)
    front = replace(foreground(), mask=np.where(foreground().mask > 0, 2, 0).astype(np.uint8))
    out = paste(replace(background(), mask=old), front)
    assert out.mask is not None
    assert np.array_equal(out.mask, np.where(front.mask > 0, 2, 1))
    bare = replace(background(), mask=None)
    ignored = paste(bare, front)
    assert ignored.mask is not None
    assert set(np.unique(ignored.mask).tolist()) == {2, 255}
    clean = paste(bare, front, unlabelled=0)
    assert clean.mask is not None
    assert set(np.unique(clean.mask).tolist()) == {0, 2}
    with pytest.raises(ArgumentError, match="not a cloning mode"):
        paste(bare, front, mode="both")


def test_mixed_cloning_keeps_texture_of_the_background() -> None:
    back = background()
    flat = replace(foreground(), image=np.full((60, 80, 3), 90, np.uint8))
    inside = foreground().mask == 1
    normal = paste(back, flat, mode="normal").image.astype(float)
    mixed = paste(back, flat, mode="mixed").image.astype(float)
    texture = cv2.Laplacian(back.image.astype(float), cv2.CV_64F)
    kept = np.abs(cv2.Laplacian(mixed, cv2.CV_64F) - texture)[inside].mean()
    lost = np.abs(cv2.Laplacian(normal, cv2.CV_64F) - texture)[inside].mean()
    assert kept < 0.5 * lost


def test_cutting_out_takes_connected_instruments() -> None:
    mask = np.zeros((40, 60), np.uint8)
    mask[:20, 5:10], mask[10:20, 10:14], mask[30:38, 40:50] = 1, 2, 2
    mask[0, 59] = 1  # too small
    found = cut_out(Sample(name="s", image=picture(0, 40, 60), mask=mask), (1, 2))
    assert [int((f.mask > 0).sum()) for f in found] == [140, 80]
    assert sorted(np.unique(found[0].mask).tolist()) == [0, 1, 2]
    assert found[0].sides == (True, False, False, False)


def test_an_instrument_that_enters_from_the_border_goes_on_doing_so() -> None:
    mask = np.zeros((60, 80), np.uint8)
    mask[25:35, :40] = 1
    front = Foreground(name="f", image=picture(0, 60, 80), mask=mask)
    rng = np.random.default_rng(0)
    sides = set()
    for _ in range(40):
        placed, shift = draw_placement(front, (90, 100), PlacementConfig(), rng)
        out = paste(background(90, 100), placed, shift=shift)
        assert out.mask is not None
        touched = (bool(out.mask[:, 1].any()), bool(out.mask[:, -2].any()))
        assert any(touched)
        sides.add(touched)
    assert len(sides) > 1  # flips happen


def test_composites_are_drawn_from_the_seed_alone() -> None:
    whole = replace(foreground(), is_complete=True)
    composite = Composite((foreground(), whole), PlacementConfig(chance=1.0))
    first = composite(background(), 5)
    again = composite(background(), 5)
    other = composite(background(), 6)
    assert np.array_equal(first.image, again.image)
    assert not np.array_equal(first.image, other.image)
    never = Composite((whole,), PlacementConfig(chance=0.0))
    assert never(background(), 5) is not None
    assert np.array_equal(never(background(), 5).image, background().image)
    with pytest.raises(ConfigError, match="margin"):
        PlacementConfig(margin=99)


def photograph(seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    rng = np.random.default_rng(seed)
    image = np.full((120, 160, 3), 150.0) + np.linspace(-12, 12, 160)[None, :, None]
    image[50:62, 30:130] = (60, 62, 66)
    image[44:68, 110:130] = (62, 60, 60)
    return np.asarray((image + rng.normal(0, 2, image.shape)).clip(0, 255), np.uint8)


BOX = Box(class_index=3, centre=(80 / 160, 56 / 120), size=(104 / 160, 28 / 120))


def test_a_boxed_object_is_cut_out_of_a_plain_background() -> None:
    found = foreground_from_box(photograph(0), BOX, class_id=2, name="p")
    assert found is not None
    truth = np.zeros((120, 160), bool)
    truth[50:62, 30:130] = truth[44:68, 110:130] = True
    got = found.mask == 2
    assert (got & truth).sum() / (got | truth).sum() > 0.9
    assert found.is_complete
    empty = np.full((120, 160, 3), 150, np.uint8)
    assert foreground_from_box(empty, BOX, class_id=1, name="e") is None


def yolo_folder(root: Path) -> Path:
    (root / "labels").mkdir(parents=True)
    for i in range(3):
        write_picture(root / "images" / f"p{i}.png", photograph(i))
        (root / "labels" / f"p{i}.txt").write_text("3 0.5 0.46667 0.65 0.23333\n")
    return root


def test_box_files(tmp_path: Path) -> None:
    root = yolo_folder(tmp_path / "yolo")
    assert len(foregrounds_from_boxes(root, {3: 1})) == 3
    with pytest.raises(DataError, match="could be segmented"):
        foregrounds_from_boxes(root, {4: 1})
    (root / "labels" / "p1.txt").write_text("3 0.5 0.5 0.2 0.2\n3 0.5 half 0.2 0.2\n")
    with pytest.raises(DataError, match=r"p1\.txt line 2 is '3 0\.5 half"):
        read_boxes(root / "labels" / "p1.txt")
    (root / "labels" / "p2.txt").write_text("")
    assert read_boxes(root / "labels" / "p2.txt") == []


def test_composites_on_disk(tmp_path: Path) -> None:
    root = image_and_mask_folder(tmp_path / "set")
    for i in range(4):  # larger pictures, so that instruments are no specks
        write_picture(root / "images" / f"f{i}.png", picture(i, 120, 160))
        write_picture(
            root / "masks" / f"f{i}.png", cv2.resize(labels(i), (160, 120), None, 0, 0, 0)
        )
    out = tmp_path / "out"
    arguments = ["composite", str(root), str(out), "--foreground", str(root), "--count", "6"]
    arguments += ["--foreground", str(yolo_folder(tmp_path / "yolo")), "--class", "scissors"]
    result = CliRunner().invoke(data, arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    frames = open_frames(out)
    assert len(frames) == 6
    assert frames.table == TABLE
    samples = [frames.read(item) for item in frames]
    changed = [
        not np.array_equal(sample.image, picture(i % 4, 120, 160))
        for i, sample in enumerate(samples)
    ]
    assert sum(changed) >= 5
    assert all(sample.mask is not None and sample.mask.max() <= 2 for sample in samples)
    again = CliRunner().invoke(data, arguments)
    assert isinstance(again.exception, OutputExistsError)
    nameless = CliRunner().invoke(
        data, ["composite", str(root), str(tmp_path / "x"), "--foreground", str(tmp_path / "yolo")]
    )
    assert isinstance(nameless.exception, ConfigError)
    assert "--class" in nameless.exception.remedy
    assert not (tmp_path / "x").exists()


def test_real_sources_of_instruments(samples: Path) -> None:
    image = read_image(samples / "chroma" / "green.png")
    truth = read_raw_mask(samples / "chroma" / "green_seg.png").values > 0
    keyed = chroma_key(image)
    assert (keyed & truth).sum() / (keyed | truth).sum() > 0.95
    screen, table = read_foregrounds(samples / "chroma" / "green.png", table=None)
    assert table.names == ("background", "instrument")
    assert np.array_equal(screen[0].mask > 0, truth)  # the mask beside it is used
    assert screen[0].sides == (True, False, False, False)
    tools, _ = read_foregrounds(samples / "surgical_tools", table=None, max_images=6)
    assert len(tools) >= 4
    frames = open_frames(samples / "cholec_instance_seg_sample")
    assert len(foregrounds_from_frames(frames)) == 23
