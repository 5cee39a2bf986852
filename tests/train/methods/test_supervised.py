"""Supervised segmentation against its formulas, and the supervised losses one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import method_formulas as formulas
import numpy as np
import pytest
import torch
from method_cases import LATE
from method_subjects import SPEC, labelled_images

from trocar.train.losses import segmentation as losses
from trocar.train.losses.supervision_and_texture import supervision, texture
from trocar.train.methods.protocol import Progress


def test_the_losses_are_those_of_the_formulas(make_method: Callable[..., Any]) -> None:
    method = make_method("supervised", w_ce=0.7, w_dice=1.3, w_texture=0.4, texture_distance=2)
    torch.manual_seed(0)
    network = method.build(SPEC).train()
    made: list[torch.Tensor] = []
    network.register_forward_hook(lambda *arguments: made.append(arguments[2]))
    batch = labelled_images()
    terms = method.losses({"labelled": batch}, LATE)
    (logits,), mask = [m.detach().numpy() for m in made], batch["mask"].numpy()
    assert float(terms["ce"].detach()) == pytest.approx(
        0.7 * formulas.cross_entropy(logits, mask).mean(), rel=1e-4
    )
    assert float(terms["dice"].detach()) == pytest.approx(
        1.3 * formulas.dice(logits, mask).mean(), rel=1e-4
    )
    difference = formulas.texture_difference(logits, mask, distance=2)
    assert difference[0] != pytest.approx(difference[1], rel=0.01)
    assert float(terms["texture"].detach()) == pytest.approx(0.4 * difference.mean(), rel=1e-4)


def test_cross_entropy_and_dice_are_means_over_images() -> None:
    torch.manual_seed(1)
    logits, mask = 2 * torch.randn(3, 4, 12, 10), torch.randint(0, 4, (3, 12, 10))
    mask[0, :9] = 255  # few labelled pixels weigh as much as many
    mask[1][mask[1] == 2] = 0  # a class that the image does not show
    mask[2] = 255
    for mine, formula in (
        (losses.cross_entropy, formulas.cross_entropy),
        (losses.dice, formulas.dice),
    ):
        expected = formula(logits.numpy(), mask.numpy())
        np.testing.assert_allclose(mine(logits, mask).numpy(), expected, rtol=1e-4)
        assert expected[2] == 0


def test_a_weight_of_zero_leaves_its_loss_out(make_method: Callable[..., Any]) -> None:
    config = make_method("supervised", w_ce=0.0, w_dice=2.0).config
    batch = labelled_images()
    logits = torch.randn(2, 3, 64, 80)
    assert set(supervision(logits, batch["mask"], config)) == {"dice"}
    assert texture(logits, batch["mask"], SPEC.classes, config, LATE) == {}


def test_the_extra_texture_term_begins_where_it_is_asked_to(
    make_method: Callable[..., Any],
) -> None:
    config = make_method("supervised", w_texture=0.1, texture_from=0.3).config
    logits, mask = torch.randn(2, 3, 64, 80), labelled_images()["mask"]
    for step, names in ((29, set()), (30, {"texture"})):
        assert set(texture(logits, mask, SPEC.classes, config, Progress(step, 100))) == names


def test_losses_of_half_precision_logits_are_those_of_float32() -> None:
    torch.manual_seed(2)
    logits, mask = torch.randn(2, 3, 16, 16).bfloat16(), torch.randint(0, 3, (2, 16, 16))
    for loss in (losses.cross_entropy, losses.dice):
        with torch.autocast("cpu", torch.bfloat16):
            half = loss(logits, mask)
        assert half.dtype == torch.float32
        torch.testing.assert_close(half, loss(logits.float(), mask))
