"""Strong views, and the pixels that augmentation brings in from outside."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trocar.contract.classes import IGNORE_INDEX
from trocar.train.data.transforms import Augment, AugmentConfig
from trocar.train.data.views import strong
from trocar.train.data.views.inside import inside_of


def images(count: int = 64) -> torch.Tensor:
    torch.manual_seed(0)
    image = torch.rand(count, 3, 24, 32) * 200 + 30
    image[:, :, :6] = 0
    return image


def test_a_strong_view_keeps_shape_and_range_and_differs_between_images() -> None:
    image = images()
    view = strong.strong_view(image)
    assert view.shape == image.shape
    assert view.dtype == torch.float32
    assert float(view.min()) >= 0
    assert float(view.max()) <= 255
    assert torch.isfinite(view).all()
    again = strong.strong_view(image)
    assert not torch.allclose(view, again)
    same = strong.strong_view(image[:1].repeat(2, 1, 1, 1))
    assert not torch.allclose(same[0], same[1])
    with torch.autocast("cpu", torch.bfloat16):
        torch.manual_seed(3)
        cast = strong.strong_view(image)
    torch.manual_seed(3)
    assert torch.equal(cast, strong.strong_view(image))


def test_colours_then_blur_then_the_box(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strong, "recolour", lambda image: image + 1)
    monkeypatch.setattr(strong, "blur", lambda image: image * 2)
    monkeypatch.setattr(strong, "cut_out", lambda image: image - 3)
    assert torch.equal(
        strong.strong_view(torch.full((1, 3, 2, 2), 5.0)), torch.full((1, 3, 2, 2), 9.0)
    )


def test_colours_change_and_black_stays_black() -> None:
    view = strong.recolour(images())
    assert float(view[:, :, :6].abs().max()) < 0.1
    change = view[:, :, 6:].mean((1, 2, 3)) / images()[:, :, 6:].mean((1, 2, 3))
    assert float(change.std()) > 0.1


def test_about_half_of_the_images_are_blurred_and_their_mean_stays() -> None:
    image = images()
    view = strong.blur(image)
    changed = (view != image).flatten(1).any(1)
    assert 0.3 < float(changed.float().mean()) < 0.7
    inner = (slice(None), slice(None), slice(12, 18), slice(6, 26))
    assert float(view[changed][inner].std()) < 0.8 * float(image[changed][inner].std())
    flat = torch.full((8, 3, 20, 20), 70.0)
    assert torch.allclose(strong.blur(flat), flat, atol=1e-3)


def test_one_box_of_each_image_has_its_mean_colour() -> None:
    image = images()
    view = strong.cut_out(image)
    for before, after in zip(image, view, strict=True):
        changed = (before != after).all(0)
        rows, columns = np.nonzero(changed.numpy())
        box = changed[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert box.all()
        assert 0.15 * 24 - 1 <= box.shape[0] <= 0.4 * 24
        assert 0.15 * 32 - 1 <= box.shape[1] <= 0.4 * 32
        colour = after[:, rows[0], columns[0]]
        assert torch.allclose(colour, before.mean((1, 2)))


def test_the_warp_marks_what_it_brings_in() -> None:
    frame = np.full((40, 50, 3), 120, np.uint8)
    shrunk = AugmentConfig(scale=(0.5, 0.5), rotate=0, shift=0, noise=0, blur=0)
    image, marks = Augment(shrunk, (32, 48))(frame, np.zeros((40, 50), np.uint8), 3)
    assert marks is not None
    inside = inside_of({"image": image[None], "outside": marks[None]})
    assert float(inside.mean()) == pytest.approx(0.25, abs=0.06)
    shown = image[0] > 0
    # Along the edge a pixel is mixed with black.
    assert float((inside[0].bool() == shown).float().mean()) > 0.9


def test_labelled_frames_mark_by_their_ignored_pixels_and_others_have_no_marks() -> None:
    mask = torch.tensor([[[0, 1], [IGNORE_INDEX, 2]]])
    image = torch.zeros(1, 3, 2, 2)
    assert inside_of({"image": image, "mask": mask}).tolist() == [[[1, 1], [0, 1]]]
    assert inside_of({"image": image}).tolist() == [[[1, 1], [1, 1]]]
