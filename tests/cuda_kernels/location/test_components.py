"""Components, their sums, arg-max and smoothing by the kernels, against NumPy and OpenCV."""

from __future__ import annotations

import shutil

import cv2
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from location_cases import TUNINGS, map_cases, spiral

from trocar.contract.errors import ArgumentError
from trocar.cuda_kernels.backends.emulation import KERNELS, HostLauncher
from trocar.cuda_kernels.backends.launch_plan import Tuning
from trocar.cuda_kernels.location import kernels as module
from trocar.cuda_kernels.location.kernels import LocationKernels
from trocar.cuda_kernels.location.label_maps import LabelMapKernels
from trocar.cuda_kernels.location.tables import (
    BORDERS,
    REGIONS,
    SHAFTS,
    depth_of,
    pixel_places,
)
from trocar.runtime.locate.field_of_view import FieldOfView
from trocar.runtime.locate.groups import Group
from trocar.runtime.temporal.mask_smoothing import MaskSmoother


def group(*ids: int, shafts: tuple[int, ...] = (), tips: tuple[int, ...] = ()) -> Group:
    return Group(ids[0], f"tool {ids[0]}", ids, shafts, tips, ())


GROUPS = (group(1), group(2, 3, shafts=(2,), tips=(3,)))
few = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def tensor(array):
    return None if array is None else torch.from_numpy(array)


def run(kernels: LocationKernels, labels, *, border: int):
    return kernels.components(
        tensor(labels),
        None,
        groups=GROUPS,
        frame_size=labels.shape,
        border=border,
        min_pixels=1,
    )


def expected(labels, confidence, frame_size, *, border, least, view=None, rim=0.0) -> list[tuple]:
    """The table by OpenCV's components and NumPy's sums."""
    h, w = labels.shape
    sy, sx = frame_size[0] / h, frame_size[1] / w
    ys, xs = np.mgrid[:h, :w]
    fx, fy = (xs + 0.5) * sx, (ys + 0.5) * sy
    depth = np.minimum(np.minimum(fx, frame_size[1] - fx), np.minimum(fy, frame_size[0] - fy))
    near = (xs < border) | (xs >= w - border) | (ys < border) | (ys >= h - border)
    if view is not None:
        square = (fx - view.x) * (fx - view.x) + (fy - view.y) * (fy - view.y)
        depth = np.minimum(depth, view.radius - np.sqrt(square))
        near |= square >= (view.radius - rim) * (view.radius - rim)
    if confidence is None:
        weights = np.zeros((h, w), np.int64)
    elif confidence.dtype == np.uint8:
        weights = confidence.astype(np.int64)
    else:
        weights = (confidence.astype(np.float16).astype(np.float64) * 2**24).astype(np.int64)
    rows = []
    for key, group in enumerate(GROUPS, start=1):
        mask = np.isin(labels, group.ids)
        regions = cv2.connectedComponents(mask.view(np.uint8), connectivity=8)[1]
        for plane in (REGIONS, BORDERS, SHAFTS):
            chosen = {
                REGIONS: mask,
                BORDERS: mask & near,
                SHAFTS: mask & np.isin(labels, group.shaft_ids),
            }[plane]
            count, numbers = cv2.connectedComponents(chosen.view(np.uint8), connectivity=8)
            for number in range(1, count):
                own = numbers == number
                y, x = np.nonzero(own)
                region = regions == regions[y[0], x[0]]
                if (region if plane == BORDERS else own).sum() < least:
                    continue
                whole = plane == REGIONS
                root = y[0] * w + x[0]
                rows.append(
                    (
                        root,
                        plane,
                        key,
                        int(region.ravel().argmax()),
                        *(len(x), x.sum(), y.sum()),
                        *((x * x).sum() * whole, (x * y).sum() * whole, (y * y).sum() * whole),
                        *((x.min(), x.max(), y.max()) if whole else (h * w, -1, -1)),
                        weights[own].sum() * whole,
                        near[own].sum() if plane != BORDERS else 0,
                        depth[own].max() if whole else -1e300,
                    )
                )
    return sorted(rows, key=lambda row: (row[1], row[0]))


def rows_of(table) -> list[tuple]:
    return [(*row[:-1], depth_of(row[-1])) for row in (tuple(int(v) for v in r) for r in table)]


@few
@given(map_cases(), st.integers(0, 3), st.sampled_from([1, 3, 16]), st.booleans(), st.booleans())
def test_the_table_is_that_of_numpy(location_kernels, case, border, least, round_view, masks):
    h, w = case.labels.shape
    size = case.frame_size
    view, rim = None, 0.04 * max(size)
    if round_view:
        view = FieldOfView(x=0.47 * size[1], y=0.6 * size[0], radius=0.4 * max(size))
    kernels = location_kernels(case.tuning, backwards=case.backwards)
    maps = kernels.components(
        tensor(case.labels),
        tensor(case.confidence),
        groups=GROUPS,
        frame_size=size,
        border=border,
        view=view,
        view_border=rim,
        min_pixels=least,
        mask_outside=masks,
    )
    labels = case.labels.copy()
    if view is not None and masks:
        fx, fy = (np.arange(w) + 0.5) * (size[1] / w), (np.arange(h) + 0.5) * (size[0] / h)
        square = ((fx - view.x) * (fx - view.x))[None] + ((fy - view.y) * (fy - view.y))[:, None]
        labels[square > view.radius * view.radius] = 0
    assert np.array_equal(maps.labels.numpy(), labels)
    wanted = expected(labels, case.confidence, size, border=border, least=least, view=view, rim=rim)
    assert rows_of(maps.table) == wanted


@pytest.mark.parametrize("tuning", TUNINGS, ids=[f"{t.threads}x{t.blocks}" for t in TUNINGS])
@pytest.mark.parametrize("backwards", [False, True])
def test_a_winding_region_is_one(location_kernels, tuning: Tuning, backwards: bool) -> None:
    labels = spiral(61)
    assert cv2.connectedComponents(labels, connectivity=8)[0] == 2
    kernels = location_kernels(tuning, backwards=backwards)
    table = run(kernels, labels, border=1).table
    assert table["pixels"][table["plane"] == REGIONS].tolist() == [int(labels.sum())]


def test_more_components_than_the_first_table_holds(location_kernels) -> None:
    labels = np.zeros((64, 80), np.uint8)
    labels[::2, ::2] = 1  # no two of them touch
    assert labels.sum() > module.FIRST_CAPACITY
    table = run(location_kernels(), labels, border=2).table
    assert rows_of(table) == expected(labels, None, labels.shape, border=2, least=1)


def test_the_first_of_equal_scores_counts(libraries) -> None:
    torch.manual_seed(0)
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        scores = torch.randint(-3, 4, (9, 21, 37)).to(dtype)
        labels = LabelMapKernels(HostLauncher(libraries, TUNINGS[1])).labels(scores)
        assert np.array_equal(labels.numpy(), scores.float().numpy().argmax(0))


@few
@given(
    st.integers(0, 9999),
    st.sampled_from([np.uint8, np.float16, np.float32]),
    st.sampled_from([0.0, 0.6, 0.75, 0.8, 1.0]),
    st.integers(0, 3),
    st.sampled_from(TUNINGS),
)
def test_smoothing_is_that_of_the_cpu(libraries, seed, kind, least, delay, tuning) -> None:
    random = np.random.default_rng(seed)
    smoother = MaskSmoother(min_confidence=least, max_delay_frames=delay)
    kernels = LabelMapKernels(HostLauncher(libraries, tuning))
    before = delayed = None
    for frame in range(6):
        labels = random.integers(0, 3, (9, 13), np.uint8)
        confidence = random.choice([0.2, 0.6, 0.7502, 0.8, 1.0], labels.shape)
        confidence = (confidence * 255 if kind is np.uint8 else confidence).astype(kind)
        outputs = {"labels": labels, "confidence": confidence}
        wanted = smoother.smooth(outputs, frame * 0.04)["labels"]
        found = tensor(labels.copy())
        if before is None:
            before, delayed = found.clone(), torch.zeros_like(found)
        else:
            kernels.smooth(
                found,
                tensor(confidence),
                before,
                delayed,
                min_confidence=least,
                max_delay_frames=delay,
            )
        assert np.array_equal(found.numpy(), wanted)


def test_what_is_no_map_is_refused(location_kernels, libraries) -> None:
    kernels = location_kernels()
    good = torch.zeros(3, 4, dtype=torch.uint8)

    def run(labels, confidence=None):
        return kernels.components(
            labels, confidence, groups=GROUPS, frame_size=(3, 4), border=1, min_pixels=1
        )

    with pytest.raises(ArgumentError, match=r"labels is int64 \[3, 4\], expected uint8 \[3, 4\]"):
        run(good.long())
    with pytest.raises(ArgumentError, match=r"labels is uint8 \[1, 3, 4\]"):
        run(good[None])
    with pytest.raises(ArgumentError, match=r"confidence is float64 \[3, 4\], expected uint8, f"):
        run(good, torch.zeros(3, 4, dtype=torch.float64))
    for bad in (float("nan"), float("inf")):
        with pytest.raises(ArgumentError, match="not finite"):
            run(good, torch.full((3, 4), bad))
    with pytest.raises(ArgumentError, match="scores are"):
        LabelMapKernels(HostLauncher(libraries)).labels(torch.zeros(3, 4))
    with pytest.raises(ArgumentError, match="has 0 pixels"):
        pixel_places((0, 4), (3, 4), border=1)


def test_a_pixel_that_is_not_joined_is_noticed(libraries, tmp_path) -> None:
    """Without one of the four unions the components come out wrong."""
    kernels = tmp_path / "kernels"
    shutil.copytree(KERNELS, kernels)
    source = kernels / "location_components.cu"
    text = source.read_text()
    old = "if (same(-1, 1)) unite(sets, pixel, pixel - width + 1);"
    assert old in text
    source.write_text(text.replace(old, ""))
    labels = np.eye(9, dtype=np.uint8)[::-1].copy()  # joined by that neighbour alone
    launcher = HostLauncher(tmp_path, Tuning(threads=32, blocks=1), kernels=kernels)
    table = run(LocationKernels(launcher), labels, border=1).table
    assert rows_of(table) != expected(labels, None, (9, 9), border=1, least=1)
