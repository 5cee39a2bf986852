"""Plain classification against its formula; its sampling, comparison and photographs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import method_formulas as formulas
import pytest
import torch
from method_subjects import Subject

from trocar.train.data.classification.samplers import BalancedSampler, RandomSampler
from trocar.train.data.classification.streams import PhotoStore


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_loss_is_the_cross_entropy(
    make_subject: Callable[..., Subject], smoothing: float
) -> None:
    subject = make_subject("classifier", smoothing=smoothing)
    made: list[torch.Tensor] = []
    subject.method.network.head.register_forward_hook(lambda *a: made.append(a[2].detach()))
    terms = subject.losses()
    labels = subject.batch["labelled"]["label"].numpy()
    expected = formulas.class_cross_entropy(made[0].numpy(), labels, smoothing=smoothing)
    assert float(terms["ce"].detach()) == pytest.approx(expected, rel=1e-4)


def test_sampling_and_comparison_are_those_of_the_settings(
    make_subject: Callable[..., Subject],
) -> None:
    plain = make_subject("classifier")
    other = make_subject("classifier", sampling="balanced", comparison="centroid")
    for subject, kind, sampler in (
        (plain, "head", RandomSampler), (other, "centroid", BalancedSampler),
    ):  # fmt: skip
        assert subject.method.network.kind == kind
        assert type(subject.method.streams(subject.data)["labelled"].sampler) is sampler


@pytest.mark.parametrize("comparison", ["head", "centroid"])
def test_scores_and_embeddings(make_subject: Callable[..., Subject], comparison: str) -> None:
    subject = make_subject("classifier", comparison=comparison)
    network = subject.method.network.eval()
    with torch.no_grad():
        subject.method.evaluate(subject.data)
        image = subject.batch["labelled"]["image"]
        scores, embedding = network(image)
        plain = network.embed(image)
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(len(image)))
    torch.testing.assert_close(embedding * plain.norm(dim=1)[:, None], plain)
    expected = network.head(plain) if comparison == "head" else 16 * embedding @ network.centroids.T
    torch.testing.assert_close(scores, expected.detach())


def test_photographs_are_augmented_anew_and_alike(
    open_photos: Callable[..., Any],
    make_classifier: Callable[..., Any],
    make_photo_run: Callable[..., Any],
) -> None:
    method = make_classifier("classifier")
    stream = method.streams(open_photos(method, make_photo_run()))["labelled"]
    again, other = stream.batch(3), stream.batch(4)
    assert torch.equal(stream.batch(3)["image"], again["image"])
    assert not torch.equal(again["image"], other["image"])
    plain = PhotoStore(stream.store.photos, size=(32, 32)).tensor(again["index"].numpy())
    assert not torch.equal(again["image"], plain)
