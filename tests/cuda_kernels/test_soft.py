"""Counts and entropy of predictions, with their gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trocar.cuda_kernels import glcm, glcm_entropy, soft_glcm, soft_glcm_entropy

BACKENDS = ["reference", "torch"]


def one_hot(labels: torch.Tensor, classes: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(labels, classes).movedim(-1, 1).double()


def by_the_book(
    p: torch.Tensor, valid: torch.Tensor | None, offsets, symmetric: bool = True
) -> torch.Tensor:
    """The definition, slowly, in operations that torch differentiates."""
    height, width = p.shape[2:]
    p = p if valid is None else p * valid[:, None]
    entropies = []
    for dy, dx in offsets:
        g = p.new_zeros(p.shape[0], p.shape[1], p.shape[1])
        for y in range(max(0, -dy), min(height, height - dy)):
            for x in range(max(0, -dx), min(width, width - dx)):
                g = g + p[:, :, y, x, None] * p[:, None, :, y + dy, x + dx]
        g = g + g.transpose(1, 2) if symmetric else g
        total = g.sum((1, 2), keepdim=True)
        q = g / torch.where(total > 0, total, 1.0)
        entropies.append(-(q * q.clamp_min(1e-8).log()).sum((1, 2)))
    return torch.stack(entropies).mean(0)


@st.composite
def predictions(draw):
    generator = np.random.default_rng(draw(st.integers(0, 999)))
    classes = draw(st.sampled_from([1, 2, 3, 8]))
    shape = (draw(st.integers(1, 2)), classes, draw(st.integers(1, 6)), draw(st.integers(1, 7)))
    x = torch.from_numpy(generator.normal(size=shape) * 3)
    share = draw(st.sampled_from([None, 0.0, 0.7]))
    valid = None if share is None else torch.from_numpy(generator.random(shape[:1] + shape[2:]))
    offsets = draw(
        st.lists(st.tuples(st.integers(-7, 7), st.integers(-8, 8)), min_size=1, max_size=4)
    )
    return x, None if valid is None else valid < share, offsets


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=25, deadline=None)
@given(case=predictions(), from_logits=st.booleans())
def test_soft_is_its_definition(backend: str, case, from_logits: bool) -> None:
    x, valid, offsets = case
    x = x if from_logits else x.softmax(1)
    found = x.clone().requires_grad_()
    value = soft_glcm_entropy(
        found, from_logits=from_logits, mode="soft", offsets=offsets, valid=valid, backend=backend
    )
    value.sum().backward()
    expected = x.clone().requires_grad_()
    book = by_the_book(expected.softmax(1) if from_logits else expected, valid, offsets)
    (book.sum() + 0 * expected.sum()).backward()
    torch.testing.assert_close(value, book, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.grad, expected.grad, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=25, deadline=None)
@given(case=predictions(), from_logits=st.booleans())
def test_straight_through_is_its_definition(backend: str, case, from_logits: bool) -> None:
    x, valid, offsets = case
    x = x if from_logits else x.softmax(1)
    found = x.clone().requires_grad_()
    value = soft_glcm_entropy(
        found, from_logits=from_logits, offsets=offsets, valid=valid, backend=backend
    )
    value.sum().backward()
    expected = x.clone().requires_grad_()
    p = expected.softmax(1) if from_logits else expected
    through = one_hot(x.argmax(1), x.shape[1]) + p - p.detach()
    book = by_the_book(through, valid, offsets)
    (book.sum() + 0 * expected.sum()).backward()
    torch.testing.assert_close(value, book, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.grad, expected.grad, rtol=1e-8, atol=1e-9)
    labels = x.argmax(1).masked_fill(~valid, 255) if valid is not None else x.argmax(1)
    hard = glcm_entropy(labels, levels=x.shape[1], offsets=offsets, ignore_index=255)
    torch.testing.assert_close(value, hard.double(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("from_logits", [True, False])
def test_gradcheck(backend: str, from_logits: bool) -> None:
    torch.manual_seed(3)
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    x = (x if from_logits else x.softmax(1)).requires_grad_()
    valid = torch.rand(2, 4, 5) < 0.8
    options = {"from_logits": from_logits, "mode": "soft", "valid": valid, "backend": backend}
    assert torch.autograd.gradcheck(lambda z: soft_glcm_entropy(z, **options), (x,))
    assert torch.autograd.gradcheck(
        lambda z: soft_glcm_entropy(z, groups=[5, 9, 5], symmetric=False, **options), (x,)
    )
    assert torch.autograd.gradcheck(lambda z: soft_glcm(z, **options), (x,))


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_hot_input_equals_the_hard_counts(backend: str) -> None:
    torch.manual_seed(0)
    labels = torch.randint(0, 5, (2, 9, 7))
    for normalised in (False, True):
        soft = soft_glcm(
            one_hot(labels, 5), from_logits=False, normalised=normalised, backend=backend
        )
        hard = glcm(labels, levels=5, normalised=normalised)
        torch.testing.assert_close(soft, hard.double(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_valid_is_zero_without_gradient(backend: str) -> None:
    for mode in ("soft", "straight_through"):
        x = torch.randn(2, 3, 4, 4, requires_grad=True)
        valid = torch.zeros(2, 4, 4, dtype=torch.bool)
        valid[1] = True
        value = soft_glcm_entropy(x, from_logits=True, mode=mode, valid=valid, backend=backend)
        value.sum().backward()
        assert value[0] == 0
        assert value[1] > 0
        assert not x.grad[0].any()
        assert x.grad[1].any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_absent_classes_and_hard_predictions_stay_finite(backend: str) -> None:
    x = torch.zeros(1, 4, 6, 6)
    x[:, 0] = 200.0
    x[:, 1, 2:4, 2:4] = 400.0
    x[:, 3] = -math.inf
    for mode in ("soft", "straight_through"):
        leaf = x.clone().requires_grad_()
        value = soft_glcm_entropy(leaf, from_logits=True, mode=mode, backend=backend)
        value.sum().backward()
        assert value.isfinite().all()
        assert leaf.grad.isfinite().all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_autocast_sum_in_float32(backend: str, dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    x = torch.randn(1, 3, 300, 300).to(dtype)
    exact = x.double().requires_grad_()
    scale = 1e6  # as loss scaling does: a gradient per pixel is below what float16 can hold
    (scale * soft_glcm_entropy(exact, from_logits=True, mode="soft").sum()).backward()
    leaf = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        value = soft_glcm_entropy(leaf, from_logits=True, mode="soft", backend=backend)
        (scale * value.sum()).backward()
    assert value.dtype == torch.float32
    assert leaf.grad.dtype == dtype
    expected = soft_glcm_entropy(exact.detach(), from_logits=True, mode="soft")
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-5)
    largest = exact.grad.abs().max()
    assert (leaf.grad.double() - exact.grad).abs().max() < 0.02 * largest


def test_hard_mode_has_a_value_and_no_gradient() -> None:
    x = torch.randn(1, 3, 5, 5, requires_grad=True)
    hard = soft_glcm_entropy(x, from_logits=True, mode="hard")
    assert not hard.requires_grad
    torch.testing.assert_close(hard, soft_glcm_entropy(x, from_logits=True).detach())


def test_groups_equal_merged_probabilities() -> None:
    torch.manual_seed(2)
    p = torch.randn(2, 4, 6, 6, dtype=torch.float64).softmax(1)
    merged = torch.stack([p[:, 0] + p[:, 2], p[:, 1], p[:, 3]], 1)
    expected = soft_glcm_entropy(merged, from_logits=False, mode="soft")
    for given_as in (p, p.numpy()):
        found = soft_glcm_entropy(given_as, from_logits=False, mode="soft", groups=[7, 90, 7, 30])
        torch.testing.assert_close(torch.as_tensor(found), expected)


def test_numpy_gives_numpy_by_every_backend() -> None:
    p = np.random.default_rng(0).random((1, 3, 5, 5))
    expected = soft_glcm_entropy(p, from_logits=True, mode="soft")
    assert isinstance(expected, np.ndarray)
    found = soft_glcm_entropy(p, from_logits=True, mode="soft", backend="torch")
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mode", ["soft", "straight_through"])
def test_views_that_are_not_contiguous(backend: str, mode: str) -> None:
    torch.manual_seed(4)
    whole = torch.randn(2, 14, 9, 4, dtype=torch.float64)
    mask = torch.rand(2, 9, 14) < 0.8
    results = []
    for copied in (False, True):
        leaf = whole.clone().requires_grad_()
        x, valid = leaf.permute(0, 3, 2, 1)[..., ::2], mask[..., ::2]
        assert not x.is_contiguous()
        if copied:
            x, valid = x.contiguous(), valid.contiguous()
        value = soft_glcm_entropy(x, from_logits=True, mode=mode, valid=valid, backend=backend)
        value.sum().backward()
        results.append((value.detach(), leaf.grad))
    torch.testing.assert_close(results[0], results[1], rtol=1e-12, atol=1e-12)
    assert results[0][1].any()


def test_runs_are_bit_identical() -> None:
    x = torch.randn(2, 4, 64, 64)
    torch.use_deterministic_algorithms(True)
    try:
        results = []
        for _ in range(2):
            leaf = x.clone().requires_grad_()
            soft_glcm_entropy(leaf, from_logits=True).sum().backward()
            results.append(leaf.grad)
        assert torch.equal(*results)
    finally:
        torch.use_deterministic_algorithms(False)
