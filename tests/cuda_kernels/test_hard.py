"""Counts and entropy of label maps: against printed values, scikit-image and each other."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.feature import graycomatrix

from trocar.cuda_kernels import DEFAULT_OFFSETS, glcm, glcm_entropy, offsets_from

IMAGE = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [0, 2, 2, 2], [2, 2, 3, 3]], np.uint8)
PLAIN = [1.86367999, 1.67698777, 1.74815546, 1.73512646]
SYMMETRIC = [2.09472905, 2.21610225, 2.09472905, 2.04319187]
BACKENDS = ["reference", "torch"]


def entropies(counts: np.ndarray) -> np.ndarray:
    p = counts / counts.sum((0, 1), keepdims=True)
    return -(p * np.log(np.where(p > 0, p, 1))).sum((0, 1))


@st.composite
def maps(draw):
    levels = draw(st.sampled_from([1, 2, 3, 7, 16, 256]))
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 19))
    labels = np.random.default_rng(draw(st.integers(0, 999))).integers(
        0, levels, (draw(st.integers(1, 3)), height, width)
    )
    offsets = draw(
        st.lists(st.tuples(st.integers(-11, 11), st.integers(-21, 21)), min_size=1, max_size=5)
    )
    ignored = draw(st.sampled_from([None, 0, levels - 1, 255]))
    return labels, levels, offsets, ignored


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("symmetric", "expected"), [(False, PLAIN), (True, SYMMETRIC)])
def test_printed_values(backend: str, symmetric: bool, expected: list[float]) -> None:
    found = [
        glcm_entropy(IMAGE[None], levels=4, offsets=[d], symmetric=symmetric, backend=backend)[0]
        for d in DEFAULT_OFFSETS
    ]
    assert found == pytest.approx(expected, abs=1e-8 if backend == "reference" else 1e-6)
    mean = glcm_entropy(IMAGE[None], levels=4, symmetric=symmetric, backend=backend)
    assert mean == pytest.approx([np.mean(expected)], abs=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("levels", [8, 256])
@pytest.mark.parametrize("distance", [1, 3])
def test_equals_scikit_image(backend: str, levels: int, distance: int, rng) -> None:
    labels = rng.integers(0, levels, (2, 37, 53), dtype=np.uint8)
    angles = [0, 30, 45, 90, 135, 200]
    found = glcm(
        labels,
        levels=levels,
        offsets=offsets_from(distance, angles),
        symmetric=False,
        normalised=False,
        backend=backend,
    )
    for image, counts in zip(labels, found, strict=True):
        expected = graycomatrix(image, [distance], np.radians(angles), levels)[:, :, 0]
        np.testing.assert_array_equal(counts, np.moveaxis(expected, 2, 0))
        entropy = glcm_entropy(
            image[None], levels=levels, offsets=offsets_from(distance, angles), symmetric=False
        )
        assert entropy[0] == pytest.approx(entropies(expected).mean(), abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(maps())
def test_torch_equals_reference(case) -> None:
    labels, levels, offsets, ignored = case
    options = {"levels": levels, "offsets": offsets, "ignore_index": ignored}
    for normalised in (False, True):
        expected = glcm(labels, **options, normalised=normalised)
        found = glcm(torch.from_numpy(labels), **options, normalised=normalised)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)
        expected = glcm_entropy(labels, **options, normalised=normalised)
        found = glcm_entropy(torch.from_numpy(labels), **options, normalised=normalised)
        np.testing.assert_allclose(found.numpy(), expected, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_ignored_pixels_belong_to_no_pair(backend: str) -> None:
    labels = np.array([[[0, 255, 1, 1]]])
    counts = glcm(
        labels,
        levels=2,
        offsets=[(0, 1)],
        symmetric=False,
        normalised=False,
        ignore_index=255,
        backend=backend,
    )
    assert counts.tolist() == [[[[0, 0], [0, 1]]]]
    nothing = np.full((1, 4, 4), 255)
    assert glcm_entropy(nothing, levels=2, ignore_index=255, backend=backend).tolist() == [0]


@pytest.mark.parametrize("backend", BACKENDS)
def test_groups_merge_grey_values(backend: str, rng) -> None:
    labels = rng.integers(0, 4, (2, 13, 11))
    grey = np.array([10, 200, 10, 77])
    merged = np.array([0, 2, 0, 1])[labels]
    expected = glcm_entropy(merged, levels=3)
    found = glcm_entropy(labels, levels=4, groups=grey.tolist(), backend=backend)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    injective = glcm_entropy(labels, levels=4, groups=[9, 8, 200, 0], backend=backend)
    np.testing.assert_allclose(injective, glcm_entropy(labels, levels=4), rtol=1e-6)
    assert not np.allclose(injective, found)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.int64])
def test_views_that_are_not_contiguous(backend: str, dtype, rng) -> None:
    labels = rng.integers(0, 5, (2, 20, 24)).astype(dtype)
    view = labels[:, ::-2, 3::3]
    expected = glcm(np.ascontiguousarray(view), levels=5)
    np.testing.assert_allclose(glcm(view, levels=5, backend=backend), expected, rtol=1e-6)
    strided = torch.from_numpy(labels).transpose(1, 2)[:, ::2]
    np.testing.assert_allclose(
        glcm(strided, levels=5, backend=backend), glcm(strided.numpy(), levels=5), rtol=1e-6
    )


def test_offsets_round_like_scikit_image() -> None:
    assert offsets_from(1) == DEFAULT_OFFSETS
    assert offsets_from(3, [45]) == ((2, 2),)
    assert offsets_from([1, 2], [0, 90]) == ((0, 1), (1, 0), (0, 2), (2, 0))


def test_importing_brings_neither_torch_nor_pycuda() -> None:
    code = "import sys, trocar.cuda_kernels as k; import numpy as n\n" + (
        "k.glcm_entropy(n.zeros((1, 2, 2), n.uint8), levels=2)\n"
        "assert not {'torch', 'pycuda'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
