"""Tinted regions, their contours and the dark line round them; sprites and text."""

from __future__ import annotations

import numpy as np
import pytest

from trocar.contract.classes import ClassTable
from trocar.runtime.draw import text
from trocar.runtime.draw.colours import contrasting_colour
from trocar.runtime.draw.regions import RegionPainter, paint_classes
from trocar.runtime.draw.sprites import sprite_from_mask, tip_sprite
from trocar.runtime.draw.text import fitting_mask, text_mask

RED = (250, 0, 0)
TABLE = ClassTable.from_names(["background", "grasper", "scissors"])


def half(width: int = 80) -> np.ndarray:
    mask = np.zeros((60, width), np.uint8)
    mask[:, width // 2 :] = 255
    return mask


@pytest.mark.parametrize("line", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("halo", [0, 1, 3])
def test_a_contour_is_as_wide_as_asked_for_and_lies_on_the_edge(line: int, halo: int) -> None:
    picture = np.full((60, 80, 3), 100, np.uint8)
    RegionPainter(RED, 0.4).paint(picture, half(), line=line, halo=halo)
    row = picture[30, :, 0].astype(int)
    contour = np.flatnonzero(row == 250)
    assert len(contour) == line
    assert contour[0] <= 40 <= contour[-1]
    assert (row[contour[-1] + 1 :] == 160).all()
    assert (row[contour[0] - halo : contour[0]] == 0).all()
    assert (row[: contour[0] - halo] == 100).all()


def test_masks_alone_have_no_contour_and_contours_alone_leave_the_inside() -> None:
    tinted = np.full((60, 80, 3), 100, np.uint8)
    RegionPainter(RED, 0.4, contour=False).paint(tinted, half(), line=4, halo=2)
    assert (tinted[:, :40] == 100).all()
    assert (tinted[:, 40:, 0] == 160).all()
    lines = np.full((60, 80, 3), 100, np.uint8)
    RegionPainter(RED, 0.4, tint=False).paint(lines, half(), line=4, halo=2)
    row = lines[30, :, 0].astype(int)
    assert (row == 250).sum() == 4
    assert (row == 0).sum() == 2
    assert (row[45:] == 100).all()


def test_a_region_drawn_in_tiles_has_no_seams() -> None:
    """A disc that is enlarged by an odd factor is as round as its mask, across all tiles."""
    yy, xx = np.mgrid[0:61, 0:97]
    mask = (((xx - 48) ** 2 + (yy - 30) ** 2) < 24**2).astype(np.uint8) * 255
    picture = np.zeros((417, 683, 3), np.uint8)
    RegionPainter(RED, 0.4).paint(picture, mask, line=3)
    y, x = np.nonzero(picture[..., 0] == 250)
    sy, sx = 417 / 61, 683 / 97
    radius = np.hypot((x + 0.5) / sx - 48.5, (y + 0.5) / sy - 30.5)
    assert radius.min() > 24 - 1.4
    assert radius.max() < 24 + 0.9
    inside = np.hypot((np.arange(683) + 0.5) / sx - 48.5, 0) < 22
    assert (picture[208, inside, 0] == 100).all()


def test_two_far_regions_of_a_class_are_both_drawn_and_nothing_between() -> None:
    mask = np.zeros((60, 200), np.uint8)
    mask[20:30, 2:12] = mask[22:40, 180:198] = 255
    picture = np.full((240, 1600, 3), 100, np.uint8)
    RegionPainter(RED, 0.5).paint(picture, mask, line=4, halo=2)
    assert picture[100, 60, 0] == 175
    assert picture[120, 1500, 0] == 175
    assert (picture[:, 130:1400] == 100).all()


@pytest.mark.parametrize("where", [(20, 30), (0, 0), (44, 60)])
def test_a_class_that_is_cut_out_is_drawn_as_in_the_whole(where: tuple[int, int]) -> None:
    y, x = where
    labels = np.zeros((60, 80), np.uint8)
    labels[y : y + 16, x : x + 20] = 2
    labels[y + 4, x + 4] = 1
    mask = np.where(labels == 2, 255, 0).astype(np.uint8)
    whole, cut = (np.full((333, 471, 3), 100, np.uint8) for _ in range(2))
    painter = RegionPainter(RED, 0.4)
    painter.paint(whole, mask, line=3, halo=2)
    assert paint_classes(cut, labels, {2: painter, 7: painter}, line=3, halo=2) == [2]
    assert (whole == cut).all()
    assert (whole != 100).any()


@pytest.mark.parametrize("show", [{"tint": True}, {"tint": False}])
def test_thin_regions_are_seen(show: dict[str, bool]) -> None:
    mask = np.zeros((240, 320), np.uint8)
    mask[100, 50] = mask[200, 10:60] = 255
    picture = np.zeros((480, 640, 3), np.uint8)
    RegionPainter(RED, 0.4, **show).paint(picture, mask, line=4, halo=2)
    assert (picture[200:202, 100:102, 0] > 90).any()
    assert (picture[400:402, 24:116, 0] > 90).any(axis=0).all()


def test_a_label_map_larger_than_the_frame_is_drawn() -> None:
    picture = np.full((48, 64, 3), 100, np.uint8)
    mask = np.zeros((512, 640), np.uint8)
    mask[200:300, 200:400] = 255
    assert paint_classes(picture, mask, {255: RegionPainter(RED, 0.4)}, line=1, halo=0) == [255]
    assert picture[24, 30, 0] == 160
    assert picture[5, 5, 0] == 100


def test_text_is_cut_off_at_the_border_and_shortened_to_a_width() -> None:
    mask = text_mask("grasper", 12)
    assert mask.max() > 200
    image = np.zeros((20, 30, 3), np.uint8)
    for x, y in ((-10, -3), (25, 15), (100, 100), (-500, 0)):
        sprite_from_mask(mask, (255, 255, 255)).blit(image, x, y)
    long = "Nadelhalter größer 持针器 " * 4
    for width in (60, 100, 200):
        short = fitting_mask(long, 12, width)
        assert short is not None
        assert width - 25 < short.shape[1] <= width
    assert fitting_mask(long, 12, 10) is None
    whole = fitting_mask("hook", 12, 1000)
    assert whole is not None
    assert (whole == text_mask("hook", 12)).all()


def test_text_on_a_colour_has_the_higher_contrast() -> None:
    assert contrasting_colour((255, 255, 0)) == (0, 0, 0)
    assert contrasting_colour((0, 0, 90)) == (255, 255, 255)
    # Bluish green is nearer to white by eye, but black has 6.1:1 on it and white 3.4:1.
    assert contrasting_colour((0, 158, 115)) == (0, 0, 0)


def test_sprites_mix_with_what_is_below_them() -> None:
    cover = np.array([[0, 255, 128]], np.uint8)
    image = np.full((1, 3, 3), 200, np.uint8)
    sprite_from_mask(cover, (100, 0, 50), background_gain=0.5).blit(image, 0, 0)
    assert image[0, 0].tolist() == [100, 100, 100]
    assert image[0, 1].tolist() == [100, 0, 50]
    assert np.abs(image[0, 2] - np.array([100.0, 50, 75])).max() <= 1


@pytest.mark.parametrize("ground", [0, 90, 255])
def test_a_tip_has_a_dot_its_colour_a_light_and_a_dark_ring(ground: int) -> None:
    stamped = np.full((41, 41, 3), ground, np.uint8)
    sprite = tip_sprite((250, 20, 20), 1.5)
    sprite.blit(stamped, 20 - sprite.colour.shape[1] // 2, 20 - sprite.colour.shape[0] // 2)
    assert stamped[20, 20].tolist() == [255, 255, 255]
    assert (stamped[0] == ground).all()
    row = stamped[20, 21:]
    assert (np.abs(row - np.array([250.0, 20, 20])).max(axis=-1) < 8).any()
    assert (row.min(axis=-1) > 200).any()
    assert (row.max(axis=-1) < 60).any()


def test_stroke_letters_of_earlier_opencv_show_letters_without_accents(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """OpenCV 4 draws each byte outside ASCII as two question marks."""
    monkeypatch.setattr(text, "_FACE", None)
    plain = text.text_mask.__wrapped__
    assert np.array_equal(plain("Größe é", 12), plain("Gro?e e", 12))
    assert np.array_equal(plain("持针器", 12), plain("???", 12))
