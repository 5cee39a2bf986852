"""Losses by name: their values, their class weights, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from trocar.contract.errors import ConfigError
from trocar.train.losses import regional, segmentation
from trocar.train.losses.by_name import LOSSES, loss_weights, supervised_terms
from trocar.train.losses.supervision_and_texture import supervision


@pytest.fixture
def scene() -> tuple[Tensor, Tensor]:
    """Logits [3,4,12,10] and labels; few labelled pixels, an absent class, none at all."""
    torch.manual_seed(1)
    logits, mask = 2 * torch.randn(3, 4, 12, 10), torch.randint(0, 4, (3, 12, 10))
    mask[0, :9] = 255
    mask[1][mask[1] == 2] = 0
    mask[2] = 255
    return logits, mask


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_one_finite_value_an_image_and_0_without_labels(
    name: str, scene: tuple[Tensor, Tensor], make_method: Callable[..., Any]
) -> None:
    logits, mask = scene
    config = make_method("supervised").config
    logits = logits.requires_grad_()
    values = LOSSES[name].function(logits, mask, None, config)
    assert values.shape == (3,)
    assert values.dtype == torch.float32
    assert values[2] == 0
    assert (values[:2] > 0.01).all()
    values.sum().backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[:2].abs().sum() > 0
    assert not logits.grad[0, :, :9].any()
    right = torch.nn.functional.one_hot(mask[1:2], 4).permute(0, 3, 1, 2) * 40.0
    assert float(LOSSES[name].function(right, mask[1:2], None, config)) < 1e-4


@pytest.mark.parametrize("name", LOSSES)
def test_class_weights_of_zero_leave_all_but_one_class_out(
    name: str, scene: tuple[Tensor, Tensor], make_method: Callable[..., Any]
) -> None:
    logits, mask = scene
    config = make_method("supervised").config
    loss = LOSSES[name].function
    one_class = [loss(logits, mask, torch.eye(4)[k], config) for k in range(4)]
    ones = loss(logits, mask, torch.ones(4), config)
    torch.testing.assert_close(ones, loss(logits, mask, None, config))
    assert one_class[2][1] == 0  # the class that the image does not show
    shares = torch.stack([(mask == k).sum(dim=(1, 2)).float() for k in range(4)])
    if name not in ("ce", "focal"):
        shares = (shares > 0).float()
    mixed = (torch.stack(one_class) * shares).sum(0)[:2] / shares.sum(0)[:2]
    torch.testing.assert_close(mixed, ones[:2])


def test_the_formulas_of_focal_and_tversky(scene: tuple[Tensor, Tensor]) -> None:
    logits, mask = scene
    shares = logits[1].softmax(0).numpy()
    labels = mask[1].numpy()
    p = np.take_along_axis(shares, labels[None], 0)[0]
    focal = ((1 - p) ** 3 * -np.log(p)).mean()
    assert float(regional.focal(logits, mask, gamma=3.0)[1]) == pytest.approx(focal, rel=1e-4)
    terms = []
    for k in np.unique(labels):
        truth, share = labels == k, shares[k]
        hit, false, missed = share[truth].sum(), share[~truth].sum(), (1 - share)[truth].sum()
        terms.append(1 - (hit + 1) / (hit + 0.2 * false + 0.8 * missed + 1))
    value = float(regional.tversky(logits, mask, beta=0.8)[1])
    assert value == pytest.approx(np.mean(terms), rel=1e-4)
    torch.testing.assert_close(
        regional.focal(logits, mask, gamma=0.0), segmentation.cross_entropy(logits, mask)
    )


def test_lovasz_is_that_of_smp_and_does_not_depend_on_the_order_of_equal_errors(
    scene: tuple[Tensor, Tensor],
) -> None:
    from segmentation_models_pytorch.losses import LovaszLoss

    logits, mask = scene
    theirs = LovaszLoss(mode="multiclass", ignore_index=255)
    for image in (0, 1):
        expected = theirs(logits[image : image + 1], mask[image : image + 1])
        torch.testing.assert_close(regional.lovasz(logits, mask)[image], expected)
    # All errors are equal; a stable order is that of the pixels, so the first ones count most.
    flat = torch.zeros(1, 2, 20, 20, requires_grad=True)
    labels = torch.zeros(1, 20, 20, dtype=torch.int64)
    labels[:, 10:] = 1
    regional.lovasz(flat, labels).sum().backward()
    assert flat.grad is not None
    rise = flat.grad[0, 0].flatten().abs()
    expected_rise = _rise(labels[0].flatten().numpy())
    np.testing.assert_allclose(rise.numpy(), expected_rise / 4, rtol=1e-4, atol=1e-8)


def _rise(labels: np.ndarray) -> np.ndarray:
    """By how much 1 - IoU rises with each pixel, in their order, mean of two classes."""
    rises = []
    for k in (0, 1):
        hits = labels == k
        jaccard = 1 - (hits.sum() - hits.cumsum()) / (hits.sum() + (~hits).cumsum())
        rises.append(np.diff(jaccard, prepend=0.0) * np.where(hits, -1.0, 1.0))
    # The error of class 1 falls where that of class 0 rises: the softmax couples them.
    return np.abs(rises[0] - rises[1]) / 2


def test_a_false_pixel_far_from_the_outline_costs_more() -> None:
    mask = torch.zeros(1, 20, 30, dtype=torch.int64)
    mask[:, :, 20:] = 1
    costs = []
    for column in (19, 15, 2):
        predicted = mask.clone()
        predicted[0, 10, column] = 1
        logits = torch.nn.functional.one_hot(predicted, 2).permute(0, 3, 1, 2) * 40.0
        costs.append(float(regional.boundary(logits, mask)))
    assert costs[0] < costs[1] < costs[2]
    # Both classes are wrong there, at 0.5 and at 17.5 pixels of an image with this diagonal.
    assert costs[0] == pytest.approx(0.5 / np.hypot(20, 30) / 600, rel=1e-3)
    assert costs[2] / costs[0] == pytest.approx(35.0, rel=1e-3)
    everywhere = torch.ones(1, 20, 30, dtype=torch.int64)
    assert float(regional.boundary(torch.randn(1, 2, 20, 30), everywhere)) == 0


def test_named_losses_replace_those_of_the_method(
    scene: tuple[Tensor, Tensor], make_method: Callable[..., Any]
) -> None:
    logits, mask = scene
    own = make_method("supervised", w_ce=0.7, w_dice=0.0).config
    assert set(supervision(logits, mask, own)) == {"ce"}
    named = make_method("supervised", loss="lovasz=0.5, tversky", tversky_beta=0.9).config
    terms = supervision(logits, mask, named)
    assert set(terms) == {"lovasz", "tversky"}
    lovasz = 0.5 * regional.lovasz(logits, mask).mean()
    torch.testing.assert_close(terms["lovasz"], lovasz)
    tversky = regional.tversky(logits, mask, beta=0.9).mean()
    torch.testing.assert_close(terms["tversky"], tversky)
    weighted = make_method("supervised", loss="ce=2", class_weights="0,1,0,3").config
    expected = 2 * segmentation.cross_entropy(logits, mask, torch.tensor([0.0, 1, 0, 3])).mean()
    torch.testing.assert_close(supervision(logits, mask, weighted)["ce"], expected)
    assert loss_weights(make_method("texture-entropy").config, {"ce": 1.0}) == {"ce": 1.0}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"loss": "dise=1"}, "did you mean dice"),
        ({"loss": "ce=-1"}, "expected a number of 0 or more"),
        ({"loss": "ce=nan"}, "'nan'"),
        ({"loss": "ce=much"}, "'much'"),
        ({"loss": "ce=1,ce=2"}, "named twice"),
        ({"loss": "ce=0"}, "no weight above 0"),
        ({"loss": "boundary=1"}, "e.g. ce=1"),
        ({"loss": "ce=1", "w_dice": 3.0}, "w_dice has no effect"),
        ({"class_weights": "1,-2"}, "class_weights is '1,-2'"),
        ({"class_weights": "1,nan"}, "class_weights is"),
        ({"class_weights": "ballanced"}, "class_weights is"),
        ({"class_weights": "0,0"}, "all 0"),
        ({"focal_gamma": -1}, "focal_gamma"),
        ({"tversky_beta": 1.5}, "tversky_beta"),
    ],
)
def test_wrong_losses_and_weights_are_refused(
    values: dict[str, Any], words: str, make_method: Callable[..., Any]
) -> None:
    with pytest.raises(ConfigError, match=words.replace("(", r"\(")):
        make_method("supervised", **values)


def test_class_weights_of_another_number_of_classes_are_refused(
    scene: tuple[Tensor, Tensor], make_method: Callable[..., Any]
) -> None:
    config = make_method("supervised", class_weights="1,2,3").config
    with pytest.raises(ConfigError, match="3 numbers, the data have 4 classes"):
        supervised_terms(*scene, config, {"ce": 1.0})
