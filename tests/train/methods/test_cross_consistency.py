"""Cross-consistency: what its source demands, and its losses against the formulas."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import method_formulas as formulas
import numpy as np
import pytest
import torch
from method_subjects import SPEC, config_of, labelled_images

from trocar.contract.classes import ClassTable
from trocar.contract.errors import ConfigError
from trocar.train.methods import cross_consistency as cc
from trocar.train.methods.protocol import Progress

MIDDLE = Progress(60, 100, 6, 10)


def consistency_batch() -> dict[str, Any]:
    torch.manual_seed(6)
    return {
        "labelled": {
            "image": torch.rand(2, 3, 64, 80) * 255,
            "mask": torch.randint(0, 3, (2, 64, 80)),
        },
        "unlabelled": {"image": torch.rand(2, 3, 64, 80) * 255},
    }


def consistent(make_method: Callable[..., Any], **values: Any) -> cc.CrossConsistency:
    torch.manual_seed(0)
    method: cc.CrossConsistency = make_method("cross-consistency", **values)
    method.build(SPEC).train()
    return method


def test_labelled_frames_come_first_and_the_weight_counts_from_there(
    make_method: Callable[..., Any],
) -> None:
    method = consistent(make_method, supervised_fraction=0.2, w_consistency=30.0)
    assert set(method.losses(consistency_batch(), Progress(19, 100))) == {"ce", "dice"}
    both = {"ce", "dice", "consistency"}
    assert set(method.losses(consistency_batch(), Progress(20, 100))) == both
    assert method.consistency_weight(Progress(20, 100)) == pytest.approx(30 * math.exp(-5))
    assert method.consistency_weight(Progress(25, 100)) == pytest.approx(30 * math.exp(-1.25))
    assert method.consistency_weight(Progress(30, 100)) == 30


def test_the_first_loss_is_the_mse_over_decoders_and_images(
    make_method: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cc, "PERTURBATIONS", {"f-noise": lambda f, m: f, "vat": lambda f, m: f})
    method = consistent(
        make_method, perturbations="f-noise,vat", batch_norm="frozen", decoder_norm="frozen",
        dropout=0,
    )  # fmt: skip
    method.decoders.eval()
    features = method.decoders.main.encode(consistency_batch()["unlabelled"]["image"])
    logits = method.decoders.main.decode(features)
    p = logits.softmax(dim=1)
    others = [decoder(features).softmax(dim=1) for decoder in method.decoders.auxiliary]
    want = torch.stack([(o - p).square().mean(dim=(1, 2, 3)) for o in others]).mean(dim=0)
    assert torch.allclose(method.decoders.consistency_mse(features, logits), want)


def test_labelled_frames_share_no_batch_statistics_with_unlabelled_ones(
    make_method: Callable[..., Any],
) -> None:
    batch = consistency_batch()
    losses = []
    for shift in (0.0, 90.0):
        method = consistent(make_method)
        batch["unlabelled"] = {"image": (batch["unlabelled"]["image"] + shift).clamp(0, 255)}
        losses.append(method.losses(batch, MIDDLE))
    assert torch.equal(losses[0]["ce"], losses[1]["ce"])
    assert not torch.equal(losses[0]["consistency"], losses[1]["consistency"])


def test_auxiliary_decoders_begin_as_copies_of_the_trained_main_one(
    make_method: Callable[..., Any],
) -> None:
    method = consistent(make_method, supervised_fraction=0.2)
    main, others = method.decoders.main.decoder, method.decoders.auxiliary
    with torch.no_grad():
        for value in main.parameters():
            value.add_(1)
    method.after_step(Progress(18, 100))
    assert not any(torch.equal(o.head.bias, main.head.bias) for o in others)
    method.after_step(Progress(19, 100))  # the last step of labelled pre-training
    for other in others:
        assert all(torch.equal(v, main.state_dict()[n]) for n, v in other.state_dict().items())
    with torch.no_grad():
        main.head.bias.add_(1)
    method.after_step(Progress(20, 100))
    assert not any(torch.equal(o.head.bias, main.head.bias) for o in others)


@pytest.mark.parametrize(("on", "passes"), [("all", 2), ("unlabelled", 1)])
def test_which_images_are_made_consistent(
    make_method: Callable[..., Any], on: str, passes: int
) -> None:
    # VAT looks for its direction with passes of its own.
    method = consistent(make_method, consistency_on=on, perturbations="f-noise,f-drop")
    counts = []
    for decoder in method.decoders.auxiliary:
        decoder.register_forward_pre_hook(lambda _, inputs: counts.append(len(inputs[0][0])))
    method.losses(consistency_batch(), MIDDLE)
    assert counts == [2] * 2 * passes  # images of a pass


def test_the_consistency_trains_encoder_and_auxiliaries_not_the_main_decoder(
    make_method: Callable[..., Any],
) -> None:
    method = consistent(make_method)
    method.losses(consistency_batch(), MIDDLE)["consistency"].backward()
    main = method.decoders.main
    assert all(p.grad is None for p in main.decoder.parameters())
    assert sum(float(p.grad.abs().sum()) for p in main.encoder.parameters()) > 0
    for decoder in method.decoders.auxiliary:
        assert sum(float(p.grad.abs().sum()) for p in decoder.parameters()) > 0


def test_decoders_by_flag_and_none_of_them_deployed(make_method: Callable[..., Any]) -> None:
    method = consistent(make_method, perturbations="f-noise,f-noise,vat")
    assert len(method.decoders.auxiliary) == 3
    network, _ = method.deployable()
    supervised = make_method("supervised")
    plain = supervised.build(SPEC)
    assert network.state_dict().keys() == plain.state_dict().keys()
    named = config_of("cross-consistency", perturbations="object-masking,context-masking")
    assert named.perturbations == ("object-masking", "context-masking")
    with pytest.raises(ConfigError, match="did you mean f-noise"):
        config_of("cross-consistency", perturbations=["f-nose"])
    with pytest.raises(ConfigError, match="perturbations is empty"):
        config_of("cross-consistency", perturbations=[])


def test_a_blind_auxiliary_decoder_never_sees_the_skip(make_method: Callable[..., Any]) -> None:
    kinds = "f-noise,object-masking,spatial-dropout"
    method = consistent(make_method, aux_skip="none", perturbations=kinds)
    seen = []
    for decoder in method.decoders.auxiliary:
        decoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][1].abs().sum()))
    method.losses(consistency_batch(), MIDDLE)
    assert len(seen) == 6  # unlabelled and labelled images
    assert all(float(value) == 0 for value in seen)


def recorded(module: torch.nn.Module) -> list[tuple[Any, torch.Tensor]]:
    """Features and logits of every pass of a decoder from now on."""
    made: list[tuple[Any, torch.Tensor]] = []
    module.register_forward_hook(
        lambda _, inputs, output: made.append(([f.detach() for f in inputs[0]], output.detach()))
    )
    return made


def test_the_losses_are_those_of_the_formulas(
    make_method: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    guides: list[torch.Tensor] = []

    def louder(features: Any, main: Any) -> Any:
        guides.append(main.probability)
        return features[0] + 1, features[1] + 2

    def quieter(features: Any, main: Any) -> Any:
        return features[0] * 0.5, features[1] * 3

    monkeypatch.setattr(cc, "PERTURBATIONS", {"f-noise": louder, "vat": quieter})
    method = consistent(
        make_method, perturbations="f-noise,vat", w_ce=0.7, w_dice=1.3, w_texture=0.4,
        texture_distance=2, texture_from=0.3, w_consistency=4.0, supervised_fraction=0.2,
        rampup_fraction=0.5,
    )  # fmt: skip
    with torch.no_grad():
        for decoder in method.decoders.auxiliary:
            decoder.head.weight.mul_(5)
    main = recorded(method.decoders.main.decoder)
    others = [recorded(decoder) for decoder in method.decoders.auxiliary]
    outside = torch.zeros(3, 64, 80, dtype=torch.int64)
    outside[0, :20] = outside[2, :, 33:] = 255
    batch = {
        "labelled": labelled_images(),
        "unlabelled": {"image": torch.rand(3, 3, 64, 80) * 255, "outside": outside},
    }
    terms = method.losses(batch, Progress(40, 100, 4, 10))
    (labelled, logits), (unlabelled, _) = main
    clean = [unlabelled, labelled]
    for number, (plus, times) in enumerate((((1, 2), (1, 1)), ((0, 0), (0.5, 3)))):
        for (features, _), source in zip(others[number], clean, strict=True):
            for part in range(2):
                torch.testing.assert_close(features[part], source[part] * times[part] + plus[part])
    by_image = []
    marks = (outside, batch["labelled"]["mask"])
    for place, (_, own) in enumerate((main[1], main[0])):
        p = formulas.softmax(own.numpy())
        inside = marks[place].numpy() != 255
        np.testing.assert_allclose(guides[place].numpy(), p, atol=1e-5)
        assert not guides[place].requires_grad
        squares = [
            ((formulas.softmax(other[place][1].numpy()) - p) ** 2).mean(axis=1) for other in others
        ]
        distances = [
            [float(one[where].mean()) for one, where in zip(square, inside, strict=True)]
            for square in squares
        ]
        by_image += list(np.mean(distances, axis=0))
    assert len(by_image) == 5
    expected = 4.0 * formulas.ramp(20, 50) * np.mean(by_image)
    assert float(terms["consistency"].detach()) == pytest.approx(expected, rel=1e-3)
    scores, mask = logits.numpy(), batch["labelled"]["mask"].numpy()
    texture = formulas.texture_difference(scores, mask, distance=2).mean()
    for name, value in (
        ("ce", 0.7 * formulas.cross_entropy(scores, mask).mean()),
        ("dice", 1.3 * formulas.dice(scores, mask).mean()),
        ("texture", 0.4 * texture),
    ):
        assert float(terms[name].detach()) == pytest.approx(value, rel=1e-3), name


@pytest.mark.parametrize("which", ["auxiliary", "main"])
def test_the_decoder_that_vat_attacks(
    make_method: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    seen: list[Any] = []

    def watched(features: Any, main: Any) -> Any:
        seen.append(main.decoder)
        return features

    monkeypatch.setattr(cc, "PERTURBATIONS", {"vat": watched})
    settings = {} if which == "auxiliary" else {"vat_decoder": "main"}
    method = consistent(make_method, perturbations="vat", consistency_on="unlabelled", **settings)
    method.losses(consistency_batch(), MIDDLE)
    decoders = method.decoders
    assert seen == [decoders.main.decoder if which == "main" else decoders.auxiliary[0]]


def test_guided_masking_takes_the_instruments_of_the_class_table(
    make_method: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(
        cc, "PERTURBATIONS", {"vat": lambda f, main: seen.append(main.instruments) or f}
    )
    names = ("background", "needle", "tissue")
    for instruments, expected in ((["needle"], (1,)), ([], None)):
        method = make_method("cross-consistency", perturbations="vat")
        table = ClassTable.from_names(names, instruments=instruments)
        method.build(replace(SPEC, classes=table)).train()
        method.losses(consistency_batch(), MIDDLE)
        assert seen.pop() == expected


def test_the_weight_is_in_proportion_to_the_classes_unless_it_is_given(
    make_method: Callable[..., Any],
) -> None:
    late = Progress(99, 100)
    method = consistent(make_method)
    assert method.consistency_weight(late) == 3.75 * 3
    method.spec = replace(SPEC, classes=ClassTable.from_names(["background", "a"]))
    assert method.consistency_weight(late) == 7.5
    assert consistent(make_method, w_consistency=2.0).consistency_weight(late) == 2
