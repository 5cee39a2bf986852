"""The few-shot network, claim element by claim element, against plain loops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from trocar.contract.errors import ConfigError
from trocar.contract.manifest import InputSpec
from trocar.train.networks.class_prototypes import membership_of, unit
from trocar.train.networks.conv_modules import ConvModules
from trocar.train.networks.few_shot.baselines import (
    local_descriptor_logits,
    prototype_logits,
)
from trocar.train.networks.few_shot.local_comparison import (
    Fusion,
    argmax_region,
    compare,
    prototypes_from,
    quality_weights,
    region_attention,
    support_similarities,
)
from trocar.train.networks.few_shot.network import FewShotNetwork, FewShotNetworkConfig

OWNERS = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2])


@pytest.fixture
def features() -> Tensor:
    torch.manual_seed(1)
    return torch.rand(9, 6, 5)


def cos(a: Tensor, b: Tensor) -> float:
    return float(cosine_similarity(a, b, dim=0))


def test_four_modules_of_three_convolutions_and_one_pool_after_the_last() -> None:
    network = ConvModules((8, 12, 16, 24))
    assert len(network.layers) == 4
    for module in network.layers:
        kinds = [type(part) for part in module]
        assert kinds.count(nn.Conv2d) == 3
        assert kinds.count(nn.ReLU) == 3
        assert isinstance(module[-1], nn.ReLU)
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert {c.kernel_size for c in convolutions} == {(3, 3)}
    assert [c.out_channels for c in convolutions[::3]] == [8, 12, 16, 24]
    assert sum(isinstance(m, nn.MaxPool2d) for m in network.modules()) == 1
    assert isinstance(list(network.children())[-1], nn.MaxPool2d)
    assert network(torch.zeros(1, 3, 84, 84)).shape == (1, 24, 5, 5)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in ConvModules(batch_norm=False).modules())


def test_channel_counts_must_differ() -> None:
    assert len(set(FewShotNetworkConfig().channels)) == 4
    with pytest.raises(ConfigError, match="four different numbers"):
        FewShotNetworkConfig(channels=(64, 64, 128, 256))


def test_first_similarity_leaves_the_photograph_out_and_second_takes_all_others(
    features: Tensor,
) -> None:
    same, different = support_similarities(features, membership_of(OWNERS, 3))
    whole = features.mean(2)
    for i in range(9):
        for j in range(5):
            region = features[i, :, j]
            fellows = [k for k in range(9) if OWNERS[k] == OWNERS[i] and k != i]
            others = [k for k in range(9) if OWNERS[k] != OWNERS[i]]
            first = np.mean([cos(region, whole[k]) for k in fellows])
            second = np.mean([cos(region, whole[k]) for k in others])
            assert float(same[i, j]) == pytest.approx(first, abs=1e-5)
            assert float(different[i, j]) == pytest.approx(second, abs=1e-5)


def test_with_one_shot_the_first_similarity_is_to_its_own_global_feature(
    features: Tensor,
) -> None:
    same, _ = support_similarities(features[:3], torch.eye(3))
    for i in range(3):
        expected = cos(features[i, :, 2], features[i].mean(1))
        assert float(same[i, 2]) == pytest.approx(expected, abs=1e-5)


def test_the_region_of_greatest_attention_is_the_local_feature(features: Tensor) -> None:
    membership = membership_of(OWNERS, 3)
    same, different = support_similarities(features, membership)
    attention = region_attention(same, different, 10.0)
    torch.testing.assert_close(attention.sum(1), torch.ones(9))
    best = (same - different).argmax(1)
    assert attention.argmax(1).tolist() == best.tolist()
    chosen = argmax_region(attention, through=False)
    assert chosen.sum(1).tolist() == [1.0] * 9
    assert chosen.argmax(1).tolist() == best.tolist()
    # While training the value is the same, and the gradient that of the soft attention.
    soft = attention.detach().requires_grad_()
    picked = argmax_region(soft, through=True)
    torch.testing.assert_close(picked.detach(), chosen)
    weights = torch.rand_like(soft)
    (picked * weights).sum().backward()
    torch.testing.assert_close(soft.grad, weights)


@pytest.mark.parametrize(("gradient", "flows"), [("through", True), ("none", False)])
def test_the_choice_of_a_region_is_trained_only_where_asked(
    gradient: Any, flows: bool, features: Tensor
) -> None:
    config = FewShotNetworkConfig(size=(48, 48), channels=(2, 3, 4, 6), attention_gradient=gradient)
    network = FewShotNetwork(config, input=InputSpec(height=48, width=48)).train()
    made = network.prototypes_from(features, membership_of(OWNERS, 3))
    # The means enter a query's score by the choice of its region alone.
    means = made.means.detach().requires_grad_()
    network.compare(features[:2], made._replace(means=means)).sum().backward()
    assert (means.grad is not None and bool(means.grad.any())) == flows
    evaluated = network.eval().compare(features[:2], made._replace(means=means))
    assert evaluated.grad_fn is not None
    assert torch.autograd.grad(evaluated.sum(), means, allow_unused=True) == (None,)


def test_standardised_channels_have_mean_0_and_deviation_1() -> None:
    torch.manual_seed(3)
    config = FewShotNetworkConfig(size=(48, 48), channels=(4, 5, 6, 8), standardise=True)
    network = FewShotNetwork(config, input=InputSpec(height=48, width=48)).train()
    images = torch.rand(16, 3, 48, 48) * 255
    for _ in range(80):
        network.features(images)
    with torch.no_grad():
        trained, deployed = network.features(images), network.eval().features(images)
    for made in (trained, deployed):
        cells = made.transpose(0, 1).flatten(1)
        moving = cells.std(1) > 0.1  # a channel that is dead stays so
        assert moving.sum() >= 3
        assert cells.mean(1).abs().max() < 0.05
        torch.testing.assert_close(
            cells.std(1)[moving], torch.ones(int(moving.sum())), atol=0.1, rtol=0
        )
    # One photograph alone is standardised as in a crowd.
    torch.testing.assert_close(network.features(images[:1]), deployed[:1], atol=1e-5, rtol=1e-4)


def test_equal_regions_give_one_local_feature_not_their_sum() -> None:
    chosen = argmax_region(torch.tensor([[0.4, 0.4, 0.2]]), through=False)
    assert chosen.tolist() == [[1.0, 0.0, 0.0]]


def test_a_photograph_unlike_its_fellows_weighs_less(features: Tensor) -> None:
    spoiled = features.clone()
    spoiled[1] = torch.zeros(6, 5)
    spoiled[1, 0] = 5.0  # looks like nothing else in its class
    weights = quality_weights(spoiled, membership_of(OWNERS, 3), 10.0)
    torch.testing.assert_close(weights.sum(0), torch.ones(3))
    assert float(weights[1, 0]) < 0.5 * float(weights[[0, 2], 0].min())
    assert (weights[3:, 0] == 0).all()
    whole = unit(spoiled.mean(2))
    alike = torch.stack([(whole[i] @ whole[:3].T).mean() for i in range(3)])
    torch.testing.assert_close(weights[:3, 0], (10 * alike).softmax(0), atol=1e-5, rtol=1e-4)


FUSIONS = [
    Fusion(),
    Fusion(whole_map=True),
    Fusion(local_weight=0.5),
    Fusion(whole_map=True, local_weight=2.0),
    Fusion(local_feature=False),
]


def joined(photo: Tensor, region: int, fusion: Fusion) -> Tensor:
    """A photograph's vector ``[C,M] -> [G+C]``, by its definition."""
    whole = photo.flatten() if fusion.whole_map else photo.mean(1)
    local = photo[:, region]
    if not fusion.local_feature:
        local = torch.zeros_like(local)
    elif fusion.local_weight:
        whole, local = whole / whole.norm(), fusion.local_weight * local / local.norm()
    vector = torch.cat([whole, local])
    return vector / vector.norm()


@pytest.mark.parametrize("fusion", FUSIONS, ids=str)
def test_a_description_is_the_weighted_sum_of_joined_vectors(
    features: Tensor, fusion: Fusion
) -> None:
    membership = membership_of(OWNERS, 3)
    made = prototypes_from(
        features, membership, attention_temperature=10.0, weight_temperature=10.0, fusion=fusion
    )
    same, different = support_similarities(features, membership)
    best = (same - different).argmax(1)
    weights = quality_weights(features, membership, 10.0)
    for label in range(3):
        total = sum(weights[i, label] * joined(features[i], int(best[i]), fusion) for i in range(9))
        assert isinstance(total, Tensor)
        torch.testing.assert_close(made.descriptions[label], total / total.norm())
    assert made.counts.tolist() == [3.0, 3.0, 3.0]


@pytest.mark.parametrize("fusion", FUSIONS, ids=str)
def test_a_query_is_judged_under_every_hypothesis(features: Tensor, fusion: Fusion) -> None:
    membership = membership_of(OWNERS, 3)
    made = prototypes_from(
        features, membership, attention_temperature=10.0, weight_temperature=10.0, fusion=fusion
    )
    torch.manual_seed(5)
    query = torch.rand(2, 6, 5)
    got = compare(query, made, attention_temperature=10.0, fusion=fusion)
    whole = features.mean(2)
    for q in range(2):
        for label in range(3):
            mine = [k for k in range(9) if OWNERS[k] == label]
            rest = [k for k in range(9) if OWNERS[k] != label]
            gains = [
                np.mean([cos(query[q, :, j], whole[k]) for k in mine])
                - np.mean([cos(query[q, :, j], whole[k]) for k in rest])
                for j in range(5)
            ]
            vector = joined(query[q], int(np.argmax(gains)), fusion)
            third = cos(vector, made.descriptions[label])
            others = [cos(vector, made.descriptions[c]) for c in range(3) if c != label]
            assert float(got[q, label]) == pytest.approx(third - np.mean(others), abs=1e-5)


def test_the_local_feature_depends_on_the_hypothesis() -> None:
    # Class 0 is bright in channel 0, class 1 in channel 1; the query has a region of either.
    supports = torch.zeros(2, 2, 3)
    supports[0, 0] = supports[1, 1] = 1.0
    made = prototypes_from(
        supports, torch.eye(2), attention_temperature=10.0, weight_temperature=10.0
    )
    query = torch.zeros(1, 2, 3)
    query[0, 0, 0] = query[0, 1, 1] = 1.0
    scores = compare(query, made, attention_temperature=10.0)
    # Each hypothesis finds its own region, so both are as likely, and likelier than a stranger.
    assert float(scores[0, 0]) == pytest.approx(float(scores[0, 1]), abs=1e-6)
    assert float(scores[0, 0]) > 0.3


def test_supports_are_judged_by_descriptions_that_leave_them_out(features: Tensor) -> None:
    config = FewShotNetworkConfig(size=(48, 48), channels=(2, 3, 4, 6))
    network = FewShotNetwork(config, input=InputSpec(height=48, width=48)).eval()
    membership = membership_of(OWNERS, 3)
    got = network.leave_one_out(features, membership)
    for i in range(9):
        rest = [k for k in range(9) if k != i]
        alone = network.prototypes_from(features[rest], membership[rest])
        torch.testing.assert_close(got[i], network.compare(features[i : i + 1], alone)[0])
    single = network.leave_one_out(features[:3], torch.eye(3))
    classes = network.prototypes_from(features[:3], torch.eye(3))
    torch.testing.assert_close(single, network.compare(features[:3], classes))


def test_the_temperature_is_learned_and_starts_at_ten() -> None:
    config = FewShotNetworkConfig(size=(48, 48), channels=(2, 3, 4, 6))
    network = FewShotNetwork(config, input=InputSpec(height=48, width=48))
    assert float(network.temperature.detach()) == pytest.approx(10.0)
    features = network.features(torch.rand(6, 3, 48, 48) * 255)
    membership = membership_of(torch.tensor([0, 0, 1, 1]), 2)
    logits = network.compare(features[4:], network.prototypes_from(features[:4], membership))
    nn.functional.cross_entropy(logits, torch.tensor([0, 1])).backward()
    grad = network.log_tau.grad
    assert grad is not None
    assert math.isfinite(float(grad))
    assert float(grad) != 0


def test_prototypes_and_local_descriptors_are_what_their_papers_say(features: Tensor) -> None:
    membership = membership_of(OWNERS, 3)
    torch.manual_seed(2)
    query = torch.rand(2, 6, 5)
    proto = prototype_logits(query, features, membership)
    dn4 = local_descriptor_logits(query, features, membership)
    for q in range(2):
        for label in range(3):
            pool = features[label * 3 : label * 3 + 3]
            distance = (query[q].flatten() - pool.flatten(1).mean(0)).square().sum()
            assert float(proto[q, label]) == pytest.approx(-float(distance), rel=1e-4)
            cells = pool.transpose(1, 2).reshape(15, 6)
            total = 0.0
            for j in range(5):
                alike = sorted(cos(query[q, :, j], cell) for cell in cells)
                total += sum(alike[-3:])
            assert float(dn4[q, label]) == pytest.approx(total, abs=1e-4)
