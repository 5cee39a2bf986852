"""Each perturbation against its definition."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from trocar.contract.manifest import InputSpec
from trocar.train.networks import perturbations as p
from trocar.train.networks.segmentation import Features, NetworkConfig, Segmenter


@pytest.fixture
def network() -> Segmenter:
    torch.manual_seed(3)
    config = NetworkConfig(encoder="tu-lcnet_050", decoder_channels=16, size=(64, 80), dropout=0)
    return Segmenter(config, classes=3, input=InputSpec(height=64, width=80))


@pytest.fixture
def scene() -> tuple[Tensor, Tensor]:
    """Four images of one bar each, and their masks."""
    rng = np.random.default_rng(0)
    image = torch.full((4, 3, 64, 80), 120.0) + torch.from_numpy(rng.normal(0, 8, (4, 3, 64, 80)))
    mask = torch.zeros(4, 64, 80, dtype=torch.int64)
    for index in range(4):
        top = 6 + 9 * index
        mask[index, top : top + 20, 10 + 5 * index : 60] = 1 + index % 2
    image[:, 0][mask == 1] += 90
    image[:, 1][mask == 2] += 90
    return image.float(), mask


def trained(network: Segmenter, scene: tuple[Tensor, Tensor], steps: int = 40) -> None:
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    network.train()
    for _ in range(steps):
        loss = functional.cross_entropy(network(scene[0]), scene[1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def main_of(network: Segmenter, features: Features) -> p.MainOutput:
    return p.MainOutput(network.decoder, network.decode(features).detach().softmax(dim=1))


def fake_main(labels: Tensor) -> p.MainOutput:
    return p.MainOutput(
        torch.nn.Identity(), functional.one_hot(labels, 3).permute(0, 3, 1, 2).float()
    )


FEATURES = (torch.rand(4, 64, 6, 7) + 0.5, torch.rand(4, 16, 24, 28) + 0.5)
NO_MAIN = fake_main(torch.zeros(4, 96, 112, dtype=torch.int64))


def test_f_noise_is_uniform_within_its_range_and_shared_by_the_batch() -> None:
    torch.manual_seed(0)
    for before, after in zip(FEATURES, p.f_noise(FEATURES, NO_MAIN), strict=True):
        noise = after / before - 1
        assert noise.abs().max() <= 0.3 + 1e-5
        assert noise.mean().abs() < 0.02
        # The deviation of U(-0.3, 0.3).
        assert float(noise[0].std()) == pytest.approx(0.3 / 3**0.5, rel=0.05)
        assert torch.allclose(noise[0], noise[1], atol=1e-5)


def test_f_drop_removes_the_most_active_places_and_only_them() -> None:
    torch.manual_seed(0)
    for before, after in zip(FEATURES, p.f_drop(FEATURES, NO_MAIN), strict=True):
        attention = before.mean(dim=1)
        gone = (after == 0).all(dim=1)
        assert torch.equal(after[:, :, :][~gone[:, None].expand_as(after)],
                           before[~gone[:, None].expand_as(before)])  # fmt: skip
        for image in range(4):
            highest = attention[image].max()
            assert attention[image][gone[image]].min() >= 0.7 * highest - 1e-5
            kept = attention[image][~gone[image]]
            assert not len(kept) or kept.max() <= 0.9 * highest + 1e-5
            # What is dropped is all that lies above one threshold.
            assert not len(kept) or attention[image][gone[image]].min() >= kept.max() - 1e-6


def test_spatial_dropout_drops_half_of_the_channels_whole() -> None:
    torch.manual_seed(0)
    for before, after in zip(FEATURES, p.spatial_dropout(FEATURES, NO_MAIN), strict=True):
        gone = (after == 0).flatten(2).all(dim=2)
        assert torch.allclose(after[~gone], 2 * before[~gone])
        assert (after[gone] == 0).all()
        assert 0.3 < gone.float().mean() < 0.7


def test_object_and_context_masks_are_exactly_the_objects() -> None:
    labels = torch.zeros(4, 96, 112, dtype=torch.int64)
    labels[:, 32:64, 48:80] = 1
    main = fake_main(labels)
    objects, context = p.object_masking(FEATURES, main), p.context_masking(FEATURES, main)
    for before, only, rest, cell in zip(FEATURES, objects, context, (16, 4), strict=True):
        inside = torch.zeros(before.shape[2:], dtype=torch.bool)
        inside[32 // cell : 64 // cell, 48 // cell : 80 // cell] = True
        assert torch.equal(only[:, :, inside], before[:, :, inside])
        assert (only[:, :, ~inside] == 0).all()
        assert torch.equal(only + rest, before)


def test_guided_cutout_cuts_0_4_of_each_side_inside_the_box() -> None:
    labels = torch.zeros(4, 96, 112, dtype=torch.int64)
    labels[:, 10:60, 20:100] = 2
    labels[:, 80:84, 4:8] = 1  # too small a contour
    main = fake_main(labels)
    places = set()
    for seed in range(5):
        torch.manual_seed(seed)
        ones = (torch.ones(4, 1, 96, 112), torch.ones(4, 1, 96, 112))
        cut = p.guided_cutout(ones, main)[1] == 0
        for image in range(4):
            rows, columns = torch.where(cut[image, 0])
            assert len(rows) == int(0.4 * 50) * int(0.4 * 80)
            top, left = int(rows.min()), int(columns.min())
            assert (int(rows.max()) - top + 1, int(columns.max()) - left + 1) == (20, 32)
            assert 10 <= top <= 40
            assert 20 <= left <= 68
            places.add((top, left))
    assert len(places) > 5


def divergence(network: Segmenter, features: Features, moves: Features) -> Tensor:
    with torch.no_grad():
        clean = network.decode(features).softmax(dim=1)
        moved = network.decode(
            (features[0] + 2 * moves[0], features[1] + 2 * moves[1])
        ).log_softmax(dim=1)
    return functional.kl_div(moved, clean, reduction="none").sum(dim=(1, 2, 3))


def test_vat_moves_the_output_more_than_a_random_step_of_equal_length(
    network: Segmenter, scene: tuple[Tensor, Tensor]
) -> None:
    trained(network, scene)
    network.eval()
    features = tuple(f.detach() for f in network.encode(scene[0]))
    torch.manual_seed(1)
    found = p.adversarial_direction(features, main_of(network, features))
    for part in found:
        assert part.flatten(1).norm(dim=1) == pytest.approx(torch.ones(4), rel=1e-4)
    mine = divergence(network, features, found)
    for _ in range(5):
        drawn = [torch.rand_like(f) - 0.5 for f in features]
        unit = [d / d.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1) for d in drawn]
        assert (mine > divergence(network, features, (unit[0], unit[1]))).all()


def test_vat_has_float64s_direction_where_the_published_step_is_lost(
    network: Segmenter, scene: tuple[Tensor, Tensor]
) -> None:
    trained(network, scene)
    network.eval()
    features = tuple(f.detach() for f in network.encode(scene[0]))
    exact = copy.deepcopy(network).double()
    fine = tuple(f.double() for f in features)
    start = [torch.rand(f.shape) for f in features]

    def direction(of: Segmenter, at: Features, xi: float) -> Tensor:
        draws = iter(start)

        def same(like: Tensor) -> Tensor:
            return next(draws).to(like)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(p.torch, "rand_like", same)
            found = p.adversarial_direction(at, main_of(of, at), xi=xi)
        return found[0].double().flatten()

    def cosine(a: Tensor, b: Tensor) -> float:
        return float(functional.cosine_similarity(a, b, dim=0))

    assert cosine(direction(network, features, 0.1), direction(exact, fine, 0.1)) > 0.999
    assert cosine(direction(network, features, 1e-6), direction(exact, fine, 1e-6)) < 0.9


def test_vat_moves_every_sample_by_a_length_of_two(
    network: Segmenter, scene: tuple[Tensor, Tensor]
) -> None:
    with torch.no_grad():
        features = network.eval().encode(scene[0])
    for before, after in zip(features, p.vat(features, main_of(network, features)), strict=True):
        lengths = (after - before).flatten(1).norm(dim=1)
        assert lengths == pytest.approx(torch.full((4,), 2.0), rel=1e-3)


def test_vat_leaves_the_decoder_as_it_was(network: Segmenter, scene: tuple[Tensor, Tensor]) -> None:
    network.train()
    features = network.encode(scene[0])
    main = main_of(network, features)
    before = {n: b.clone() for n, b in network.decoder.named_buffers()}
    p.vat(features, main)
    assert all(torch.equal(before[n], b) for n, b in network.decoder.named_buffers())
    assert all(module.training for module in network.decoder.modules())
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("steps", [0, 40])
def test_no_clean_detail_leaks_past_the_perturbations(
    network: Segmenter, scene: tuple[Tensor, Tensor], steps: int
) -> None:
    # The same decoder on both sides, so that only the perturbation can make a difference.
    trained(network, scene, steps)
    network.train()
    shares = {}
    with torch.no_grad():
        features = network.encode(scene[0])
        main = main_of(network, features)
        variation = main.probability.flatten(2).var(dim=2).mean()
        for kind, perturb in p.PERTURBATIONS.items():
            torch.manual_seed(2)
            output = network.decode(perturb(features, main)).softmax(dim=1)
            shares[kind] = float((output - main.probability).square().mean() / variation)
    assert min(shares.values()) > 0.001, shares
    # As a whole, L1 is a good part of what the outputs vary at all.
    assert sum(shares.values()) / len(shares) > 0.05, shares


def test_objects_are_the_instruments_and_equal_an_arg_max() -> None:
    torch.manual_seed(0)
    probability = torch.rand(2, 4, 6, 7).softmax(dim=1)
    best = probability.argmax(dim=1, keepdim=True)
    plain = p.MainOutput(torch.nn.Identity(), probability)
    assert torch.equal(plain.objects, (best > 0).float())
    some = p.MainOutput(torch.nn.Identity(), probability, (1, 3))
    assert torch.equal(some.objects, ((best == 1) | (best == 3)).float())
    none = p.MainOutput(torch.nn.Identity(), probability, ())
    every = p.MainOutput(torch.nn.Identity(), probability, (0, 1, 2, 3))
    assert not none.objects.any()
    assert every.objects.all()
    assert none.objects.shape == every.objects.shape == (2, 1, 6, 7)
