"""Every wrong argument is an error that says what to do."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch

from trocar.contract.errors import ArgumentError, BackendError, MissingExtraError
from trocar.cuda_kernels import glcm, glcm_entropy, offsets_from, soft_glcm, soft_glcm_entropy

LABELS = torch.zeros(1, 4, 4, dtype=torch.uint8)
SCORES = torch.zeros(1, 3, 4, 4)


def soft(x, **options):
    return soft_glcm_entropy(x, from_logits=True, **options)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: glcm(LABELS[0], levels=2), r"shape \[4, 4\].*labels\[None\]"),
        (lambda: glcm(LABELS.float(), levels=2), "labels is float32"),
        (lambda: glcm([[1]], levels=2), "labels is a list"),
        (lambda: glcm(LABELS[:0], levels=2), "size 0"),
        (lambda: glcm(LABELS, levels=0), "levels is 0"),
        (lambda: glcm(LABELS, levels=257), "from 1 to 256"),
        (lambda: glcm(LABELS, levels=2.5), "levels is 2.5"),
        (lambda: glcm(LABELS, levels=2, offsets=[]), "no offsets"),
        (lambda: glcm(LABELS, levels=2, offsets=[(0, 0.5)]), "offset 0"),
        (lambda: glcm(LABELS, levels=2, offsets=[(0, 1), 3]), "offset 1"),
        (lambda: glcm(LABELS, levels=2, offsets=[(0, 2**40)]), r"below 2\*\*31"),
        (lambda: glcm(LABELS, levels=2, backend="opencl"), "opencl"),
        (lambda: glcm_entropy(LABELS + 7, levels=4), r"a label is 7.*levels to 8"),
        (lambda: glcm_entropy(LABELS.numpy() + 7, levels=4), r"a label is 7.*levels to 8"),
        (lambda: glcm_entropy(LABELS.int() - 1, levels=4), r"a label is -1.*ignore_index=-1"),
        (lambda: glcm_entropy(LABELS, levels=4, groups=[0]), "1 values.*4 classes"),
        (lambda: soft(SCORES[0]), r"x\[None\]"),
        (lambda: soft(SCORES.long()), "x is int64"),
        (lambda: soft(torch.zeros(1, 65, 2, 2)), "1 to 64"),
        (lambda: soft(SCORES, mode="softly"), "softly.*straight_through"),
        (lambda: soft(SCORES, valid=torch.ones(1, 4, 4)), "valid is float32"),
        (lambda: soft(SCORES, valid=torch.ones(1, 4, 5).bool()), r"\[1, 4, 5\]"),
        (lambda: soft(SCORES, valid=np.ones((1, 4, 4), bool)), "one kind"),
        (lambda: soft(SCORES, valid=torch.ones(1, 4, 4, device="meta").bool()), "on meta"),
        (lambda: soft(SCORES * np.nan), "NaN"),
        (lambda: soft(SCORES * np.nan, mode="soft"), "NaN"),
        (lambda: soft((SCORES * np.nan).numpy()), "NaN"),
        (lambda: soft_glcm(SCORES * np.nan, from_logits=False), "NaN"),
        (lambda: offsets_from(0), "distance is 0"),
        (lambda: offsets_from(1, []), "0 angles"),
    ],
)
def test_says_what_is_wrong(call, words: str) -> None:
    with pytest.raises(ArgumentError, match=f"(?s){words}") as caught:
        call()
    assert caught.value.remedy
    assert caught.value.code == 15


def test_nan_at_invalid_pixels_does_no_harm() -> None:
    x = torch.randn(1, 3, 4, 4)
    valid = torch.ones(1, 4, 4, dtype=torch.bool)
    valid[0, 1, 2] = False
    expected = soft(x, valid=valid)
    x[0, :, 1, 2] = np.nan
    torch.testing.assert_close(soft(x, valid=valid), expected)
    for backend in ("reference", "torch"):
        leaf = x.clone().requires_grad_()
        soft(leaf, valid=valid, mode="soft", backend=backend).sum().backward()
        assert leaf.grad.isfinite().all()


def test_unchecked_labels_belong_to_no_pair() -> None:
    labels = torch.tensor([[[0, 1, 9, 1, -3]]])
    expected = glcm(torch.tensor([[[0, 1, 255, 1, 255]]]), levels=2, ignore_index=255)
    torch.testing.assert_close(glcm(labels, levels=2, check=False), expected)


def test_cuda_without_a_gpu_says_what_to_install() -> None:
    if torch.cuda.is_available() and importlib.util.find_spec("pycuda"):
        pytest.skip("this machine has what the cuda backend needs")
    with pytest.raises((MissingExtraError, BackendError)) as caught:
        soft(SCORES, backend="cuda")
    assert "install" in caught.value.remedy
