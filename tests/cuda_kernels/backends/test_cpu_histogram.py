"""Both CPU implementations of the counts, against the reference."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trocar.cuda_kernels import DEFAULT_OFFSETS, offsets_from
from trocar.cuda_kernels.backends import cpu_histogram
from trocar.cuda_kernels.backends.base import HardPlan
from trocar.cuda_kernels.backends.cpu_histogram import joint_counts, windows_of
from trocar.cuda_kernels.backends.reference import ReferenceBackend

REFERENCE = ReferenceBackend()
NUMBERS = {torch.uint8: (0, 255), torch.int8: (-128, 127), torch.int32: (-3, 300)}


@st.composite
def problems(draw):
    dtype = draw(st.sampled_from(sorted(NUMBERS, key=str)))
    lowest, highest = NUMBERS[dtype]
    shape = draw(st.integers(1, 3)), draw(st.integers(1, 14)), draw(st.integers(1, 20))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 9999)))
    levels = draw(st.sampled_from([1, 2, 8, 9, 19, 20, 128, 200, 255, 256]))
    above = draw(st.sampled_from([min(levels, highest), highest + 1]))
    low = lowest if above > levels else 0
    labels = torch.randint(low, max(above, 1), shape, generator=generator).to(dtype)
    near = st.tuples(st.integers(-2, 2), st.integers(-2, 2))
    far = st.tuples(st.integers(-15, 15), st.integers(-21, 21))
    offsets = draw(st.lists(near | far, min_size=1, max_size=7))
    ignored = draw(st.sampled_from([None, 0, levels - 1, 255, -1, 300]))
    return labels, HardPlan(tuple(offsets), levels, ignored)


@settings(max_examples=150, deadline=None)
@given(problems())
def test_every_number_type_and_window(problem) -> None:
    labels, plan = problem
    expected = REFERENCE.hard_counts(labels, plan)
    assert torch.equal(joint_counts(labels, plan).long(), expected)
    turned = labels.transpose(1, 2)[:, ::2]
    assert torch.equal(joint_counts(turned, plan).long(), REFERENCE.hard_counts(turned, plan))


def test_one_window_holds_the_usual_offsets() -> None:
    (window,) = windows_of(dict(enumerate(DEFAULT_OFFSETS)), side=9)
    assert len(window.cells) == 4
    assert {position for position, _, _ in window.pairs} == {0, 1, 2, 3}
    twelve = windows_of(dict(enumerate(offsets_from([1, 2, 4]))), side=9)
    assert len(twelve) <= 4
    assert sorted(pair[0] for found in twelve for pair in found.pairs) == list(range(12))


def test_many_levels_and_far_offsets_are_counted_in_pairs() -> None:
    assert [len(w.cells) for w in windows_of(dict(enumerate(DEFAULT_OFFSETS)), side=257)] == [2] * 4
    assert len(windows_of({0: (0, 40), 1: (40, 0), 2: (40, 40)}, side=9)) == 3


@pytest.mark.parametrize("limit", [1, 40, 2**24])
def test_images_too_large_for_float_counts_go_in_bands(monkeypatch, limit: int) -> None:
    monkeypatch.setattr(cpu_histogram, "_MAX_EXACT", limit)
    labels = torch.randint(0, 256, (2, 23, 17))
    plan = HardPlan((*DEFAULT_OFFSETS, (-3, 2)), 256)
    assert torch.equal(joint_counts(labels, plan).long(), REFERENCE.hard_counts(labels, plan))


def test_threads_count_what_one_counts() -> None:
    labels = torch.randint(0, 100, (5, 31, 33))
    plan = HardPlan((*DEFAULT_OFFSETS, (0, 20)), 100, 7)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = joint_counts(labels, plan)
        torch.set_num_threads(3)
        assert torch.equal(joint_counts(labels, plan), one)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", [torch.int8, torch.int16, torch.int64])
def test_what_is_no_level_belongs_to_no_pair_even_of_256_levels(dtype: torch.dtype) -> None:
    labels = torch.tensor([[[-1, 0, 7, -128], [3, -2, 127, 127]]], dtype=dtype)
    if dtype != torch.int8:
        labels[0, 0, 2], labels[0, 1, 3] = 256, 255
    plan = HardPlan(DEFAULT_OFFSETS, 256)
    assert torch.equal(joint_counts(labels, plan).long(), REFERENCE.hard_counts(labels, plan))
