"""Texture entropy against grey-level co-occurrence matrices by other means."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import method_formulas as formulas
import numpy as np
import pytest
import torch
from method_subjects import SPEC, TABLE, config_of, labelled_images
from skimage.feature import graycomatrix

from trocar.contract.classes import ClassRow, ClassTable
from trocar.contract.errors import ConfigError
from trocar.train.losses.supervision_and_texture import texture_difference
from trocar.train.methods.protocol import Progress

MIDDLE = Progress(60, 100, 6, 10)
ANGLES = (0, 45, 90, 135)


def entropy_by_skimage(labels: np.ndarray) -> float:
    angles = [math.radians(angle) for angle in ANGLES]
    found = graycomatrix(labels, [1], angles, levels=4, symmetric=True, normed=True)[:, :, 0]
    return float(np.mean([-(p[p > 0] * np.log(p[p > 0])).sum() for p in found.transpose(2, 0, 1)]))


def logits_of(labels: torch.Tensor, classes: int) -> torch.Tensor:
    return 20 * torch.nn.functional.one_hot(labels, classes).permute(0, 3, 1, 2).float()


def test_the_texture_difference_is_that_of_the_grey_level_entropies() -> None:
    rng = np.random.default_rng(0)
    predicted, truth = rng.integers(0, 4, (2, 3, 9, 11)).astype(np.uint8)
    truth[:, :5] = 1
    table = ClassTable.from_names(["n0", "n1", "n2", "n3"])
    got = texture_difference(
        logits_of(torch.from_numpy(predicted).long(), 4),
        torch.from_numpy(truth).long(),
        table,
        mode="straight_through",
    )
    want = [
        abs(entropy_by_skimage(a) - entropy_by_skimage(b))
        for a, b in zip(predicted, truth, strict=True)
    ]
    assert got.tolist() == pytest.approx(want, abs=1e-5)
    assert min(want) > 0.05


def test_classes_of_one_grey_value_are_one_texture() -> None:
    rows = tuple(
        ClassRow(id=i, name=f"n{i}", colour=(0, 0, 0), grey=g) for i, g in enumerate((0, 90, 90))
    )
    mask = torch.randint(0, 3, (2, 16, 16), generator=torch.Generator().manual_seed(0))
    swapped = torch.where(mask == 1, 2, torch.where(mask == 2, 1, mask))
    swapped[:, ::2] = mask[:, ::2]
    merged = texture_difference(logits_of(swapped, 3), mask, ClassTable(rows), mode="soft")
    apart = texture_difference(logits_of(swapped, 3), mask, TABLE, mode="soft")
    assert merged.abs().max() < 1e-4
    assert apart.abs().max() > 1e-3


def test_ignored_pixels_are_left_out_of_both_entropies() -> None:
    mask = torch.randint(0, 3, (1, 16, 16), generator=torch.Generator().manual_seed(0))
    mask[:, :, 8:] = 255
    guess = mask.clone()
    guess[:, :, 8:] = torch.randint(0, 3, (1, 16, 8))
    assert texture_difference(logits_of(guess, 3), mask, TABLE, mode="straight_through") < 1e-5
    nothing = torch.full((1, 16, 16), 255)
    logits = torch.randn(1, 3, 16, 16, requires_grad=True)
    empty = texture_difference(logits, nothing, TABLE, mode="straight_through")
    assert empty.item() == 0


def test_the_loss_is_the_weighted_sum(make_method: Callable[..., Any]) -> None:
    batch = {
        "labelled": {
            "image": torch.rand(2, 3, 64, 80) * 255,
            "mask": torch.randint(0, 3, (2, 64, 80)),
        }
    }
    values = {}
    for weights in ((1.0, 1.0), (0.5, 3.0)):
        method = make_method("texture-entropy", w_texture=weights[0], w_label=weights[1])
        torch.manual_seed(0)
        method.build(SPEC)
        torch.manual_seed(1)
        values[weights] = {k: float(v.detach()) for k, v in method.losses(batch, MIDDLE).items()}
    plain, weighted = values.values()
    assert weighted == pytest.approx(
        {"texture": plain["texture"] / 2, "label": 3 * plain["label"], "dice": plain["dice"]}
    )
    logged = float(method.logged["texture_normalised"])
    assert logged == pytest.approx(plain["texture"] / (2 * math.log(3)))


def test_texture_begins_where_it_is_asked_to(make_method: Callable[..., Any]) -> None:
    method = make_method("texture-entropy", texture_from=0.5)
    method.build(SPEC)
    batch = {
        "labelled": {"image": torch.zeros(2, 3, 64, 80), "mask": torch.zeros(2, 64, 80).long()}
    }
    early = method.losses(batch, Progress(step=49, total_steps=100))
    later = method.losses(batch, Progress(step=50, total_steps=100))
    assert set(early) == {"label", "dice"}
    assert set(later) == {"label", "dice", "texture"}


def test_the_patents_loss_has_no_dice(make_method: Callable[..., Any]) -> None:
    method = make_method("texture-entropy", w_dice=0.0)
    method.build(SPEC)
    assert set(method.losses({"labelled": labelled_images()}, MIDDLE)) == {"label", "texture"}


@pytest.mark.parametrize("weights", [{"w_label": 0}, {"w_texture": 0}])
def test_texture_without_one_of_its_terms_is_refused(weights: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="must be above 0"):
        config_of("texture-entropy", **weights)


def test_the_published_entropies_of_one_image() -> None:
    image = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [0, 2, 2, 2], [2, 2, 3, 3]])
    expected = [2.09472905, 2.21610225, 2.09472905, 2.04319187]
    for angle, value in zip(formulas.ANGLES, expected, strict=True):
        assert formulas.texture_entropy(image, angles=(angle,)) == pytest.approx(value)


@pytest.mark.parametrize("distance", [1, 2])
def test_the_difference_at_a_distance_and_with_ignored_pixels(distance: int) -> None:
    torch.manual_seed(1)
    mask = torch.randint(0, 3, (2, 14, 16))
    mask[0, ::2] = 0
    mask[0, :, :7] = 255
    logits = torch.randn(2, 3, 14, 16)
    result = texture_difference(logits, mask, TABLE, mode="straight_through", distance=distance)
    expected = formulas.texture_difference(logits.numpy(), mask.numpy(), distance=distance)
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-4)
    assert min(expected) > 1e-3
    assert expected != pytest.approx(
        formulas.texture_difference(logits.numpy(), mask.numpy(), distance=3 - distance), rel=1e-3
    )


@pytest.mark.parametrize("mode", ["straight_through", "soft"])
def test_autocast_does_not_reach_the_texture(mode: str) -> None:
    torch.manual_seed(1)
    logits, mask = torch.randn(2, 3, 32, 32), torch.randint(0, 3, (2, 32, 32))
    mask[:, :16] = 1
    plain = logits.clone().requires_grad_()
    texture_difference(plain, mask, TABLE, mode=mode).sum().backward()
    cast = logits.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        texture_difference(cast, mask, TABLE, mode=mode).sum().backward()
    assert plain.grad.abs().max() > 0
    torch.testing.assert_close(cast.grad, plain.grad, rtol=1e-5, atol=1e-9)


def test_the_losses_are_those_of_the_formulas(make_method: Callable[..., Any]) -> None:
    method = make_method(
        "texture-entropy", w_texture=0.3, w_label=1.7, w_dice=0.6, texture_distance=2
    )
    torch.manual_seed(0)
    network = method.build(SPEC).train()
    made: list[torch.Tensor] = []
    network.register_forward_hook(lambda *arguments: made.append(arguments[2]))
    batch = labelled_images()
    terms = method.losses({"labelled": batch}, MIDDLE)
    (logits,), mask = [m.detach().numpy() for m in made], batch["mask"].numpy()
    difference = formulas.texture_difference(logits, mask, distance=2).mean()
    label = formulas.cross_entropy(logits, mask).mean()
    assert float(terms["texture"].detach()) == pytest.approx(0.3 * difference, rel=1e-4)
    assert float(terms["label"].detach()) == pytest.approx(1.7 * label, rel=1e-4)
    overlap = formulas.dice(logits, mask).mean()
    assert float(terms["dice"].detach()) == pytest.approx(0.6 * overlap, rel=1e-4)
