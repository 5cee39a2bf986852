"""The kernel for tensor cores, emulated with its rounding, against the portable one."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest
import torch

from trocar.contract.errors import ArgumentError, BackendError, TrocarError
from trocar.cuda_kernels import DEFAULT_OFFSETS, soft_glcm
from trocar.cuda_kernels.backends import cuda, launch_plan
from trocar.cuda_kernels.backends.base import SoftPlan
from trocar.cuda_kernels.backends.emulation import KERNELS, HostLauncher
from trocar.cuda_kernels.backends.kernels import KernelBackend
from trocar.cuda_kernels.backends.launch_plan import Tuning
from trocar.cuda_kernels.backends.reference import ReferenceBackend
from trocar.cuda_kernels.build import measure

REFERENCE = ReferenceBackend()
OFFSETS = (*DEFAULT_OFFSETS, (-2, 3), (0, -40), (9, 0), (2**31 - 1, 0))
# Two roundings of one part in 2**11 at most, multiplied; sums of positive numbers keep the bound.
ROUNDING = (1 + 2**-11) ** 2 - 1
NARROW = Tuning(threads=64, blocks=1, tile=(4, 9))  # 36 pixels: the last step of 8 is half empty
SMALL = Tuning(threads=128, shared=12 * 1024, blocks=3)


@pytest.fixture(scope="module")
def tensor(libraries):
    def make(tuning: Tuning | None = None, **options) -> KernelBackend:
        launcher = HostLauncher(libraries, tuning or Tuning(), **options)
        return KernelBackend("emulated", launcher, tensor_cores=True)

    return make


def soft(backend, x, valid=None, *, from_logits: bool = True, offsets=OFFSETS) -> torch.Tensor:
    return backend.soft_counts(x, valid, SoftPlan(offsets, from_logits, one_hot=False))[0]


@pytest.mark.parametrize(
    ("classes", "tuning"),
    [(16, NARROW), (17, SMALL), (40, NARROW), (64, Tuning())],
    ids=["16", "17", "40", "64"],
)
def test_numbers_that_need_no_rounding_are_exact(tensor, classes: int, tuning: Tuning) -> None:
    generator = torch.Generator().manual_seed(classes)
    x = torch.randint(-7, 8, (2, classes, 11, 9), generator=generator).float()
    valid = torch.rand((2, 11, 9), generator=generator) < 0.8
    for mask, backwards in ((None, False), (valid, True)):
        backend = tensor(tuning, backwards=backwards)
        expected = soft(REFERENCE, x, mask, from_logits=False)
        assert torch.equal(soft(backend, x, mask, from_logits=False), expected)


def test_probabilities_stay_within_the_rounding_of_the_portable_kernel(tensor, emulated) -> None:
    torch.manual_seed(1)
    x = 2 * torch.randn(1, 17, 9, 45)
    valid = torch.rand(1, 9, 45) < 0.9
    expected = soft(emulated(), x, valid)
    found = soft(tensor(), x, valid)
    torch.testing.assert_close(found, expected, rtol=ROUNDING + 1e-5, atol=0)
    assert not torch.allclose(found, expected, rtol=1e-5, atol=0)  # it did round


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_probabilities_of_sixteen_bits_need_no_rounding(tensor, dtype) -> None:
    torch.manual_seed(2)
    x = torch.randn(1, 17, 7, 21).softmax(1).to(dtype)
    expected = soft(REFERENCE, x, from_logits=False)
    found = soft(tensor(), x, from_logits=False)
    torch.testing.assert_close(found, expected, rtol=2e-6, atol=0)


def test_inputs_round_to_nearest_and_ties_away_from_zero(tensor) -> None:
    step = 2.0**-10  # of TF32, from 1 to 2
    near = [1 + 0.49 * step, 1 + 0.5 * step, -1 - 0.5 * step, 1 + 1.5 * step, 3.0e38]
    x = torch.zeros(1, 16, 1, 9)
    x[0, 0, 0, :5] = torch.tensor(near)
    x[0, 1] = 1
    found = soft(tensor(), x, from_logits=False, offsets=((0, 1), (0, 4)))
    assert found[0, 1, 0, 1] == pytest.approx(3.0e38, rel=2**-11)
    found = soft(tensor(), x[..., :4].contiguous(), from_logits=False, offsets=((0, 3), (0, -3)))
    assert found[0, 0, 0, 1] == 1
    assert found[0, 1, 0, 1] == 1 + 2 * step
    for position, value in ((1, 1 + step), (2, -1 - step)):
        alone = x[..., position : position + 2].contiguous()
        alone[0, 0, 0, 1] = 0
        assert soft(tensor(), alone, from_logits=False, offsets=((0, 1),))[0, 0, 0, 1] == value
    apart = torch.zeros(1, 16, 1, 41)  # farther than any margin: not read from the tile
    apart[0, 1, 0, 0], apart[0, 0, 0, 40] = 1, near[1]
    assert soft(tensor(), apart, from_logits=False, offsets=((0, 40),))[0, 0, 1, 0] == 1 + step


def test_nan_shows_in_the_sums_of_its_class_alone(tensor) -> None:
    x = torch.ones(1, 16, 4, 8)
    x[0, 3, 1, 2] = torch.nan
    found = soft(tensor(), x, from_logits=False, offsets=((0, 1),))[0, 0].isnan()
    expected = torch.zeros(16, 16, dtype=torch.bool)
    expected[3] = expected[:, 3] = True
    assert torch.equal(found, expected)


def test_bits_do_not_depend_on_the_order_of_threads(tensor) -> None:
    torch.manual_seed(4)
    x = torch.randn(1, 17, 9, 33)
    found = [soft(tensor(Tuning(threads=64, blocks=4), backwards=b), x) for b in (False, True)]
    assert torch.equal(*found)


def test_gradient_and_arg_max_are_those_of_the_portable_kernels(tensor, emulated) -> None:
    torch.manual_seed(5)
    x = torch.randn(1, 17, 5, 9)
    for one_hot in (False, True):
        plan = SoftPlan(DEFAULT_OFFSETS, from_logits=True, one_hot=one_hot)
        counts, saved = tensor().soft_counts(x, None, plan)
        portable, _ = emulated().soft_counts(x, None, plan)
        assert torch.equal(counts, portable) is one_hot
        gradients = [
            e.soft_gradient(x, None, plan, portable, saved) for e in (tensor(), emulated())
        ]
        assert torch.equal(*gradients)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("values, stride);\n", "values, stride);\n#define __syncthreads()\n"),
        ("lower + 2 * half", "half + 2 * lower"),
        ("const bool in_tile = pixel < pixels;", "const bool in_tile = true;"),
    ],
    ids=["barriers", "fragment", "last step"],
)
def test_a_fault_is_seen(libraries, tmp_path, old: str, new: str) -> None:
    kernels = tmp_path / "kernels"
    shutil.copytree(KERNELS, kernels)
    source = kernels / "soft_forward_tensor.cu"
    text = source.read_text()
    assert text.count(old) == 1
    source.write_text(text.replace(old, new))
    x = torch.randn(1, 16, 11, 13, generator=torch.Generator().manual_seed(6))
    wrong = 0
    for backwards in (False, True):
        broken = HostLauncher(tmp_path, NARROW, backwards=backwards, kernels=kernels)
        found = soft(KernelBackend("broken", broken, tensor_cores=True), x, from_logits=False)
        whole = KernelBackend("whole", HostLauncher(libraries, NARROW), tensor_cores=True)
        wrong += not torch.equal(found, soft(whole, x, from_logits=False))
    assert wrong


def test_what_it_does_not_take_is_refused(tensor) -> None:
    with pytest.raises(ArgumentError, match="float64") as caught:
        soft(tensor(), torch.zeros(1, 16, 4, 4, dtype=torch.float64))
    assert "backend='cuda'" in caught.value.remedy
    with pytest.raises(ArgumentError, match=r"65 classes.* at most 64") as caught:
        soft(tensor(), torch.zeros(1, 65, 4, 4))
    assert "merge" in caught.value.remedy


def test_the_backend_is_had_by_name_where_the_gpu_has_tf32(monkeypatch) -> None:
    for architecture, tensor_cores, name in (
        ("sm_80", True, "cuda-tensor"),
        ("sm_75", False, "cuda"),
        ("sm_75", True, None),
    ):
        launcher = SimpleNamespace(architecture=architecture)
        monkeypatch.setattr(cuda, "_launcher_of", lambda index, made=launcher: made)
        device = torch.device("cuda", 0)
        if name is not None:
            assert cuda.cuda_backend(device, tensor_cores=tensor_cores).name == name
            continue
        with pytest.raises(BackendError, match="this GPU is sm_75"):
            cuda.cuda_backend(device, tensor_cores=tensor_cores)
    # Whatever is missing here, a tensor of the CPU can't have it.
    with pytest.raises(TrocarError, match="the cuda backend"):
        soft_glcm(torch.zeros(1, 16, 4, 4), from_logits=True, backend="cuda-tensor")


def test_plans_stay_within_the_limits_of_a_device() -> None:
    for classes in range(1, 65):
        for offsets in (DEFAULT_OFFSETS, OFFSETS, tuple((0, d) for d in range(1, 200))):
            plan = launch_plan.plan_soft_tensor((16, classes, 1024, 1280), offsets, Tuning())
            assert plan.shared <= 48 * 1024 * (1 if classes <= 32 else 2)
            assert plan.threads == 256
            assert 1 <= plan.numbers[0] <= 8


def test_the_table_leaves_out_gpus_without_tf32(nvrtc) -> None:
    rows = list(measure(nvrtc, ["sm_75", "sm_120"], "soft_forward_tensor.cu"))
    assert {row.architecture for row in rows} == {"sm_120"}
    assert {row.usage.kernel for row in rows} == {"soft_forward_tensor"}
