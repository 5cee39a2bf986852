"""The real kernels, run on the CPU under several block shapes, against the reference."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trocar.contract.errors import ArgumentError, BackendError
from trocar.cuda_kernels import DEFAULT_OFFSETS
from trocar.cuda_kernels.autograd import Entropy, SoftCounts
from trocar.cuda_kernels.backends import launch_plan
from trocar.cuda_kernels.backends.base import HardPlan, SoftPlan
from trocar.cuda_kernels.backends.emulation import KERNELS, HostLauncher, compile_on_host
from trocar.cuda_kernels.backends.kernels import KernelBackend, hard_source
from trocar.cuda_kernels.backends.launch_plan import Tuning
from trocar.cuda_kernels.backends.reference import ReferenceBackend

REFERENCE = ReferenceBackend()
TUNINGS = [
    Tuning(threads=32, blocks=1, tile=(8, 4)),
    Tuning(threads=64, shared=3 * 1024, blocks=3),
    Tuning(threads=128, shared=12 * 1024, blocks=64, tile=(16, 16)),
    Tuning(),
]
OFFSETS = (*DEFAULT_OFFSETS, (-2, 3), (0, -40), (9, 0), (-30, 1), (2**31 - 1, 0))


@st.composite
def problems(draw):
    shape = draw(st.integers(1, 2)), draw(st.integers(1, 20)), draw(st.integers(1, 40))
    offsets = draw(
        st.lists(st.tuples(st.integers(-22, 22), st.integers(-42, 42)), min_size=1, max_size=5)
    )
    return shape, tuple(offsets), draw(st.sampled_from(TUNINGS)), draw(st.integers(0, 9999))


few = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@few
@given(problems(), st.sampled_from([1, 2, 8, 97, 256]), st.booleans())
def test_hard_counts_and_entropy(emulated, problem, levels: int, backwards: bool) -> None:
    shape, offsets, tuning, seed = problem
    generator = np.random.default_rng(seed)
    labels = torch.from_numpy(generator.integers(0, levels + 1, shape)).clamp_max(255)
    backend = emulated(tuning, backwards=backwards)
    ignored = seed % 5 - 1
    plan = HardPlan(offsets, levels, ignored if seed % 2 else None)
    expected = REFERENCE.hard_counts(labels, plan)
    for dtype in (torch.uint8, torch.int64):
        counts = backend.hard_counts(labels.to(dtype), plan)
        assert torch.equal(counts.long(), expected)
    for symmetric in (False, True):
        torch.testing.assert_close(
            backend.entropy(counts, symmetric=symmetric),
            REFERENCE.entropy(counts, symmetric=symmetric),
            rtol=1e-5,
            atol=1e-5,
        )


@few
@given(problems(), st.booleans(), st.booleans(), st.sampled_from([None, 0.0, 0.7]))
def test_soft_counts_and_gradients(emulated, problem, one_hot, backwards, share) -> None:
    shape, offsets, tuning, seed = problem
    generator = torch.Generator().manual_seed(seed)
    classes = (1, 3, 9)[seed % 3]
    size = shape[0], classes, *shape[1:]
    x = 3 * torch.randn(size, generator=generator, dtype=torch.float64)
    valid = None if share is None else torch.rand(shape, generator=generator) < share
    plan = SoftPlan(offsets, from_logits=classes != 1, one_hot=one_hot)
    backend = emulated(tuning, backwards=backwards)
    counts, saved = backend.soft_counts(x, valid, plan)
    expected, _ = REFERENCE.soft_counts(x, valid, plan)
    torch.testing.assert_close(counts, expected, rtol=1e-10, atol=1e-10)
    grad = torch.randn(counts.shape, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(
        backend.soft_gradient(x, valid, plan, grad, saved),
        REFERENCE.soft_gradient(x, valid, plan, grad, ()),
        rtol=1e-9,
        atol=1e-9,
    )
    entropies = torch.randn(shape[0], generator=generator, dtype=torch.float64)
    for symmetric in (False, True):
        torch.testing.assert_close(
            backend.entropy_gradient(counts, entropies, symmetric=symmetric),
            REFERENCE.entropy_gradient(counts, entropies, symmetric=symmetric),
            rtol=1e-8,
            atol=1e-8,
        )


@pytest.mark.parametrize(
    ("classes", "dtype"),
    [(8, torch.float32), (2, torch.float16), (8, torch.bfloat16), (64, torch.float32)],
)
def test_dtypes_and_class_blocks(emulated, classes: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.randn(1, classes, 9, 33).to(dtype)
    backend = emulated(Tuning(threads=64, blocks=4))
    for one_hot in (False, True):
        plan = SoftPlan(OFFSETS, from_logits=True, one_hot=one_hot)
        counts, saved = backend.soft_counts(x, None, plan)
        expected, _ = REFERENCE.soft_counts(x, None, plan)
        torch.testing.assert_close(counts, expected, rtol=1e-5, atol=1e-5)
        grad = torch.randn_like(counts)
        torch.testing.assert_close(
            backend.soft_gradient(x, None, plan, grad, saved),
            REFERENCE.soft_gradient(x, None, plan, grad, ()),
            rtol={torch.float32: 1e-4, torch.float16: 2e-3}.get(dtype, 2e-2),
            atol=1e-3,
        )


def test_gradcheck_of_the_whole_chain(emulated) -> None:
    torch.manual_seed(1)
    x = torch.randn(1, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    valid = torch.rand(1, 4, 5) < 0.9
    backend = emulated(TUNINGS[0])
    plan = SoftPlan(DEFAULT_OFFSETS, from_logits=True, one_hot=False)

    def entropy(z: torch.Tensor) -> torch.Tensor:
        return Entropy.apply(backend, SoftCounts.apply(backend, plan, z, valid), True)

    assert torch.autograd.gradcheck(entropy, (x,))


def test_views_that_are_not_contiguous(emulated) -> None:
    torch.manual_seed(3)
    x = torch.randn(1, 14, 9, 3, dtype=torch.float64).permute(0, 3, 2, 1)[..., ::2]
    valid = (torch.rand(1, 9, 14) < 0.8)[..., ::2]
    labels = torch.randint(0, 5, (1, 14, 9)).transpose(1, 2)
    backend = emulated(TUNINGS[1])
    hard = HardPlan(DEFAULT_OFFSETS, 5)
    assert torch.equal(
        backend.hard_counts(labels, hard).long(), REFERENCE.hard_counts(labels, hard)
    )
    for one_hot in (False, True):
        plan = SoftPlan(DEFAULT_OFFSETS, from_logits=True, one_hot=one_hot)
        counts, saved = backend.soft_counts(x, valid, plan)
        torch.testing.assert_close(counts, REFERENCE.soft_counts(x, valid, plan)[0])
        grad = torch.randn_like(counts).transpose(2, 3)
        torch.testing.assert_close(
            backend.soft_gradient(x, valid, plan, grad, saved),
            REFERENCE.soft_gradient(x, valid, plan, grad, ()),
        )


def test_values_printed_in_the_literature(emulated) -> None:
    image = torch.tensor([[[0, 0, 1, 1], [0, 0, 1, 1], [0, 2, 2, 2], [2, 2, 3, 3]]])
    backend = emulated(TUNINGS[0])
    expected = [2.09472905, 2.21610225, 2.09472905, 2.04319187]
    for offset, value in zip(DEFAULT_OFFSETS, expected, strict=True):
        counts = backend.hard_counts(image, HardPlan((offset,), 4))
        assert backend.entropy(counts, symmetric=True).item() == pytest.approx(value, abs=1e-6)


def test_bits_do_not_depend_on_the_order_of_threads(emulated) -> None:
    torch.manual_seed(2)
    x = torch.randn(1, 8, 21, 45)
    plan = SoftPlan(DEFAULT_OFFSETS, from_logits=True, one_hot=False)
    results = []
    for backwards in (False, True):
        backend = emulated(Tuning(threads=128, blocks=4), backwards=backwards)
        counts, saved = backend.soft_counts(x, None, plan)
        results.append((counts, backend.soft_gradient(x, None, plan, counts, saved)))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_deleted_barrier_is_caught(libraries, tmp_path, number: int) -> None:
    """Without any one of its barriers the histogram, its sums or the tiles come out wrong."""
    kernels = tmp_path / "kernels"
    shutil.copytree(KERNELS, kernels)
    source, barrier = ("hard.cu", number) if number < 2 else ("soft_forward.cu", 1)
    pieces = (kernels / source).read_text().split("__syncthreads();")
    pieces[barrier : barrier + 2] = ["".join(pieces[barrier : barrier + 2])]
    (kernels / source).write_text("__syncthreads();".join(pieces))
    wrong = 0
    for backwards in (False, True):
        launcher = HostLauncher(
            tmp_path, Tuning(threads=64, blocks=1), backwards=backwards, kernels=kernels
        )
        backend = KernelBackend("broken", launcher)
        if source == "hard.cu":
            labels = torch.randint(0, 4, (1, 40, 40), generator=torch.Generator().manual_seed(0))
            plan = HardPlan(DEFAULT_OFFSETS, 4)
            found, expected = backend.hard_counts(labels, plan), REFERENCE.hard_counts(labels, plan)
            wrong += not torch.equal(found.long(), expected)
        else:
            x = torch.randn(1, 3, 20, 40, generator=torch.Generator().manual_seed(0))
            soft = SoftPlan(DEFAULT_OFFSETS, from_logits=True, one_hot=False)
            found, expected = (e.soft_counts(x, None, soft)[0] for e in (backend, REFERENCE))
            wrong += not torch.allclose(found, expected, rtol=1e-4)
    assert wrong


def test_too_many_pixels_or_images_are_refused() -> None:
    backend = KernelBackend("unused", HostLauncher(None))
    with pytest.raises(ArgumentError, match=r"2\*\*31 pixels"):
        backend.hard_counts(
            torch.empty(1, 50_000, 50_000, dtype=torch.uint8, device="meta"),
            HardPlan(DEFAULT_OFFSETS, 4),
        )
    with pytest.raises(ArgumentError, match="too many images"):
        launch_plan.plan_pixels((70_000, 3, 4, 4), Tuning())


def test_plans_stay_within_the_limits_of_a_device() -> None:
    for classes in (1, 2, 8, 9, 33, 64):
        for offsets in (DEFAULT_OFFSETS, OFFSETS, tuple((0, d) for d in range(1, 200))):
            for size in (4, 8):
                shape, tuning = (16, classes, 1024, 1280), Tuning()
                limit = tuning.shared * size // 4
                for plan in (
                    launch_plan.plan_soft_forward(shape, offsets, size, tuning),
                    launch_plan.plan_soft_backward(shape, offsets, size, tuning),
                    launch_plan.plan_straight_backward(shape, len(offsets), size, tuning),
                ):
                    assert plan.shared <= limit
                    assert plan.threads % 32 == 0
                    assert plan.threads <= 256
    for levels in (1, 8, 100, 256):
        plan = launch_plan.plan_hard((8, 512, 512), levels, 4, Tuning())
        assert plan.shared <= Tuning().shared
        assert plan.grid[0] * plan.grid[1] * plan.grid[2] < 4000


def test_a_source_that_does_not_compile_is_an_error_and_leaves_nothing(tmp_path) -> None:
    (tmp_path / "hard.cu").write_text("this is no C++")
    target = tmp_path / "library.so"
    with pytest.raises(BackendError, match=r"does not compile hard\.cu"):
        compile_on_host(hard_source(torch.uint8), target, ["-shared"], kernels=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["hard.cu"]
