"""Head sets under ties, and the triplet loss against pytorch-metric-learning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import method_formulas as formulas
import numpy as np
import pytest
import torch
from method_subjects import Subject

from trocar.contract.errors import ArgumentError, ConfigError
from trocar.contract.manifest import InputSpec
from trocar.train.data.classification.head_set import head_set
from trocar.train.data.classification.samplers import PKSampler, RandomSampler
from trocar.train.losses.triplet import batch_hard
from trocar.train.methods.protocol import ModelSpec, Progress
from trocar.train.networks.class_prototypes import unit
from trocar.train.networks.embedding import Embedder, EmbeddingConfig

COUNTS = np.array([5, 40, 8, 8, 25, 8, 1, 0])


def test_three_ways_to_choose_the_head() -> None:
    assert head_set(COUNTS, rule="threshold", threshold=8).ids == (1, 4)
    assert head_set(COUNTS, rule="number", number=2).ids == (1, 4)
    # Seven classes have photographs: 0.3 of them are two.
    assert head_set(COUNTS, rule="share", share=0.3).ids == (1, 4)
    assert head_set(COUNTS, rule="number", number=5).ids == (1, 2, 3, 4, 5)


def test_a_tie_at_the_cut_is_left_out_or_taken_in_whole() -> None:
    out = head_set(COUNTS, rule="number", number=3)
    assert out.ids == (1, 4)
    assert "3 classes have 8 photographs each" in out.note
    into = head_set(COUNTS, rule="share", share=0.5, ties="in")
    assert into.ids == (1, 2, 3, 4, 5)
    assert "taken in" in into.note


@pytest.mark.parametrize("ties", ["out", "in"])
def test_every_head_class_has_more_than_every_other(ties: Any) -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        counts = rng.integers(1, 8, size=9)
        rule = rng.choice(["threshold", "share", "number"])
        try:
            head = head_set(
                counts,
                rule=rule,
                threshold=int(rng.integers(1, 6)),
                share=float(rng.uniform(0.1, 1)),
                number=int(rng.integers(2, 9)),
                ties=ties,
            )
        except ConfigError:
            continue
        rest = [counts[i] for i in range(9) if i not in head.ids]
        assert not rest or min(counts[list(head.ids)]) > max(rest)


def test_a_head_set_of_one_class_is_refused() -> None:
    with pytest.raises(ConfigError, match="1 class"):
        head_set(COUNTS, rule="threshold", threshold=30)
    with pytest.raises(ConfigError, match="all are left out"):
        head_set(np.array([6, 6, 6, 6]), rule="number", number=2)


@pytest.mark.parametrize("margin", [0.1, 0.3, 1.0])
def test_batch_hard_equals_pytorch_metric_learning(margin: float) -> None:
    from pytorch_metric_learning.distances import LpDistance
    from pytorch_metric_learning.losses import TripletMarginLoss
    from pytorch_metric_learning.miners import BatchHardMiner
    from pytorch_metric_learning.reducers import MeanReducer

    distance = LpDistance(normalize_embeddings=False, p=2)
    theirs = TripletMarginLoss(margin=margin, distance=distance, reducer=MeanReducer())
    miner = BatchHardMiner(distance=distance)
    for seed in range(8):
        torch.manual_seed(seed)
        vectors = unit(torch.randn(24, 12)).requires_grad_()
        labels = torch.randint(0, 6, (24,))
        expected = theirs(vectors, labels, miner(vectors, labels))
        got = batch_hard(vectors, labels, margin=margin)
        assert float(got.detach()) == pytest.approx(float(expected.detach()), abs=1e-5)
        (a,) = torch.autograd.grad(got, vectors)
        (b,) = torch.autograd.grad(expected, vectors)
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_the_soft_margin_is_softplus_of_the_gap() -> None:
    vectors = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    labels = torch.tensor([0, 0, 1, 1])
    gaps = np.array([1 - 3, 1 - 2, 4 - 2, 4 - 6])
    expected = np.log1p(np.exp(gaps)).mean()
    assert float(batch_hard(vectors, labels, margin=None)) == pytest.approx(expected, rel=1e-5)


def test_an_anchor_beyond_the_margin_costs_nothing() -> None:
    vectors, labels = torch.tensor([[0.0], [0.1], [9.0], [10.0]]), torch.tensor([0, 0, 1, 1])
    assert float(batch_hard(vectors, labels, margin=0.3)) == 0
    # Anchor 2 alone is within a margin of 8: its positive at 1, its negative at 8.9.
    expected = [max(8 + p - n, 0) for p, n in ((0.1, 9), (0.1, 8.9), (1, 8.9), (1, 9.9))]
    assert sorted(expected)[:3] == [0, 0, 0]
    assert float(batch_hard(vectors, labels, margin=8.0)) == pytest.approx(
        np.mean(expected), abs=1e-5
    )


def test_a_copy_of_the_anchor_is_no_positive() -> None:
    vectors = torch.tensor([[0.0], [0.0], [2.0], [1.5]])
    labels = torch.tensor([0, 0, 0, 1])
    digests = torch.tensor([5, 5, 6, 7])
    with_copies = batch_hard(vectors, labels, margin=0.3, digests=digests)
    without = batch_hard(vectors[[0, 2, 3]], labels[[0, 2, 3]], margin=0.3)
    # Anchors 0 and 1 have the same hardest positive and negative; 2 has one anchor to itself.
    rows = [0.3 + 2 - 1.5, 0.3 + 2 - 1.5, 0.3 + 2 - 0.5]
    assert float(with_copies) == pytest.approx(np.mean(rows), abs=1e-5)
    assert float(without) == pytest.approx(np.mean([rows[0], rows[2]]), abs=1e-5)
    only_copies = batch_hard(
        vectors[[0, 1, 3]], labels[[0, 1, 3]], margin=0.3, digests=digests[[0, 1, 3]]
    )
    assert float(only_copies) == 0.0


def test_equal_embeddings_have_finite_gradients() -> None:
    vectors = torch.zeros(4, 3, requires_grad=True)
    batch_hard(vectors, torch.tensor([0, 0, 1, 1])).backward()
    assert vectors.grad is not None
    assert torch.isfinite(vectors.grad).all()
    with pytest.raises(ArgumentError):
        batch_hard(torch.zeros(4, 3), torch.zeros(3))


def built(make_classifier: Callable[..., Any], data_of: Any, run: Any, **changes: Any) -> Any:
    method = make_classifier("head-triplet", **changes)
    data = data_of(method, run)
    streams = method.streams(data)
    torch.manual_seed(0)
    method.build(
        ModelSpec(name="t", classes=data.labelled.table, input=InputSpec(height=32, width=32))
    )
    batch = {name: stream.batch(0) for name, stream in streams.items()}
    return method, streams, batch


def test_ties_at_the_boundary_of_the_head_set_are_noted(
    make_classifier: Callable[..., Any],
    open_photos: Callable[..., Any],
    make_photo_run: Callable[..., Any],
) -> None:
    method = make_classifier("head-triplet")
    data = open_photos(method, make_photo_run())
    photos = data.labelled
    equal = photos.only(
        item.name for label in range(4) for item in photos.of_classes([label]).items[:5]
    )
    method.config = replace(method.config, ties="in")
    method.streams(replace(data, labelled=equal))
    (note,) = method.notes
    assert note.startswith("head set: ")
    assert "taken in" in note


def test_more_classes_a_batch_than_there_are_become_all_classes(
    make_classifier: Callable[..., Any],
    open_photos: Callable[..., Any],
    make_photo_run: Callable[..., Any],
) -> None:
    method, streams, _ = built(make_classifier, open_photos, make_photo_run(), p=16)
    assert streams["total"].sampler.p == 4
    assert "P is 4 instead of 16: there are 4 classes and 1 process(es)" in method.notes


def test_head_batches_hold_head_classes_and_total_batches_all(
    make_classifier: Callable[..., Any],
    open_photos: Callable[..., Any],
    make_photo_run: Callable[..., Any],
) -> None:
    method, streams, _ = built(make_classifier, open_photos, make_photo_run())
    assert isinstance(streams["head"].sampler, RandomSampler)
    assert isinstance(streams["total"].sampler, PKSampler)
    head = {int(v) for s in range(20) for v in streams["head"].batch(s)["label"]}
    total = {int(v) for s in range(20) for v in streams["total"].batch(s)["label"]}
    assert head == set(method.head.ids)
    assert len(head) == 2
    assert total == {0, 1, 2, 3}
    assert method.network.head_mask.tolist() == [i in head for i in range(4)]
    _, streams, _ = built(make_classifier, open_photos, make_photo_run(), head_sampling="pk")
    assert isinstance(streams["head"].sampler, PKSampler)
    assert {int(v) for s in range(9) for v in streams["head"].batch(s)["label"]} == head


def test_the_first_loss_knows_head_classes_only(
    make_classifier: Callable[..., Any],
    open_photos: Callable[..., Any],
    make_photo_run: Callable[..., Any],
) -> None:
    method, _, batch = built(make_classifier, open_photos, make_photo_run())
    method.losses(batch, Progress(0, 1))["head"].backward()
    grad = method.network.head.weight.grad
    outside = ~method.network.head_mask
    assert (grad[outside] == 0).all()
    assert (grad[~outside] != 0).any()


def test_both_losses_at_once_or_in_turn(
    make_classifier: Callable[..., Any],
    open_photos: Callable[..., Any],
    make_photo_run: Callable[..., Any],
) -> None:
    method, _, batch = built(make_classifier, open_photos, make_photo_run())
    assert set(method.losses(batch, Progress(1, 9))) == {"head", "triplet"}
    turn, _, batch = built(make_classifier, open_photos, make_photo_run(), alternate_losses=True)
    named = [set(turn.losses(batch, Progress(step, 9))) for step in range(4)]
    assert named == [{"head"}, {"triplet"}, {"head"}, {"triplet"}]


def test_standardised_embeddings_have_mean_0_and_deviation_1() -> None:
    made = {}
    images = torch.rand(16, 3, 64, 64) * 255
    for standardise in (True, False):
        torch.manual_seed(3)
        config = EmbeddingConfig(
            backbone="test_resnet", size=(64, 64), embedding_size=8, standardise=standardise
        )
        network = Embedder(config, classes=3, input=InputSpec(height=64, width=64)).train()
        with torch.no_grad():
            for _ in range(80):
                trained = network.embed(images)
            deployed = network.eval().embed(images)
        made[standardise] = trained
        if standardise:
            for z in (trained, deployed):
                torch.testing.assert_close(z.mean(0), torch.zeros(8), atol=0.05, rtol=0)
                torch.testing.assert_close(z.std(0), torch.ones(8), atol=0.1, rtol=0)
            with pytest.raises(ConfigError, match="--no-standardise"):
                network.train().embed(images[:1])
        else:
            assert network.train().embed(images[:1]).shape == (1, 8)
    # It is the same embedding, moved and stretched.
    plain = made[False]
    expected = (plain - plain.mean(0)) / (plain.var(0, correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(made[True], expected, atol=1e-3, rtol=1e-3)


def test_photographs_go_to_the_nearest_centroid_of_all_classes(
    make_classifier: Callable[..., Any],
    open_photos: Callable[..., Any],
    make_photo_run: Callable[..., Any],
) -> None:
    method, _, batch = built(make_classifier, open_photos, make_photo_run())
    data = open_photos(method, make_photo_run())
    method.network.eval()
    method.evaluate(data)
    network = method.network
    image = batch["total"]["image"]
    with torch.no_grad():
        scores, embedding = network(image)
        means = []
        for label in range(4):
            chosen = np.flatnonzero(data.labelled.labels == label)
            means.append(unit(network.embed(method.train.tensor(chosen))).mean(0))
        expected = unit(embedding) @ unit(torch.stack(means)).T
    torch.testing.assert_close(scores / 16, expected, atol=1e-4, rtol=1e-4)
    network.fusion = 0.5
    with torch.no_grad():
        fused, _ = network(image)
        logits = network.head(network.embed(image)) * network.head_mask
        logits -= logits.sum(1, keepdim=True) / 2
    torch.testing.assert_close(
        fused, scores + 0.5 * logits * network.head_mask, atol=1e-4, rtol=1e-4
    )


def test_the_losses_are_those_of_the_formulas(
    make_subject: Callable[..., Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = make_subject("head-triplet", margin=0.9, w_triplet=2.5)
    network = subject.method.network
    embedded: list[torch.Tensor] = []
    plain = network.embed

    def embed(image: torch.Tensor) -> torch.Tensor:
        embedded.append(plain(image))
        return embedded[-1]

    monkeypatch.setattr(network, "embed", embed)
    torch.manual_seed(3)
    head = sorted(subject.method.head.ids)
    # Class 0 has a copy among others, class 3 has nothing but copies.
    labels, digests = torch.tensor([0, 0, 0, 1, 1, 3, 3]), torch.tensor([1, 1, 2, 3, 4, 5, 5])
    images = torch.rand(7, 3, 32, 32) * 255
    images[1], images[6] = images[0], images[5]
    batch = {
        "head": {
            "image": torch.rand(4, 3, 32, 32) * 255,
            "label": torch.tensor([head[0], head[1], head[1], head[0]]),
        },
        "total": {"image": images, "label": labels, "digest": digests},
    }
    terms = subject.losses(batch)
    vectors = embedded[0].detach().numpy().astype(float)
    assert len(embedded) == 1
    assert len(vectors) == 11
    weight, bias = (p.detach().numpy() for p in network.head.parameters())
    logits = (vectors[:4] @ weight.T + bias)[:, head]
    places = [head.index(int(label)) for label in batch["head"]["label"]]
    assert float(terms["head"].detach()) == pytest.approx(
        formulas.class_cross_entropy(logits, np.array(places)), rel=1e-4
    )
    unit_vectors = np.array([formulas.unit(v) for v in vectors[4:]])
    triplet = formulas.batch_hard(unit_vectors, labels.numpy(), digests.numpy(), 0.9)
    assert float(terms["triplet"].detach()) == pytest.approx(2.5 * triplet, rel=1e-4)
    assert triplet != pytest.approx(
        formulas.batch_hard(unit_vectors, labels.numpy(), np.arange(7), 0.9), rel=1e-3
    )


def test_a_margin_of_zero_is_the_soft_margin(make_subject: Callable[..., Subject]) -> None:
    subject = make_subject("head-triplet", margin=0.0, w_triplet=1.0)
    subject.network.eval()
    total = subject.batch["total"]
    with torch.no_grad():
        vectors = unit(subject.method.network.embed(total["image"]))
        expected = batch_hard(vectors, total["label"], margin=None, digests=total["digest"])
        terms = subject.losses()
    torch.testing.assert_close(terms["triplet"], expected)


def test_equal_pixels_have_equal_digests(
    open_photos: Callable[..., Any],
    make_classifier: Callable[..., Any],
    make_photo_run: Callable[..., Any],
) -> None:
    method = make_classifier("head-triplet", augment="none", k=7, p=2)
    batch = method.streams(open_photos(method, make_photo_run()))["total"].batch(0)
    digests, index = batch["digest"].tolist(), batch["index"].tolist()
    assert len(set(index)) < len(index)  # a class has fewer than seven photographs
    for a in range(len(index)):
        for b in range(len(index)):
            assert (digests[a] == digests[b]) == (index[a] == index[b])
