"""What only a GPU can show: the kernels there, in order with torch's streams."""

from __future__ import annotations

import pytest
import torch

from trocar.contract.errors import ArgumentError
from trocar.cuda_kernels import (
    DEFAULT_OFFSETS,
    default_backend,
    glcm,
    glcm_entropy,
    soft_glcm,
    soft_glcm_entropy,
)
from trocar.cuda_kernels.backends._launch_packages import installed_package

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU"),
    pytest.mark.skipif(installed_package() is None, reason="no pycuda and no cuda.bindings"),
]
OFFSETS = (*DEFAULT_OFFSETS, (-2, 3), (0, -60), (9, 0))


def test_cuda_is_the_default_there() -> None:
    assert default_backend(torch.device("cuda")) == "cuda"


@pytest.mark.parametrize("levels", [2, 8, 100, 256])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_hard_equals_the_reference(levels: int, dtype: torch.dtype) -> None:
    labels = torch.randint(0, levels, (3, 123, 261)).to(dtype)
    options = {"levels": levels, "offsets": OFFSETS, "ignore_index": 1}
    found = glcm(labels.cuda(), **options, normalised=False)
    assert torch.equal(found.cpu(), glcm(labels, **options, normalised=False))
    torch.testing.assert_close(
        glcm_entropy(labels.cuda(), **options).cpu(),
        glcm_entropy(labels, **options),
        rtol=1e-5,
        atol=1e-5,
    )


@pytest.mark.parametrize("mode", ["soft", "straight_through"])
@pytest.mark.parametrize("classes", [1, 2, 8, 9, 33, 64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_soft_equals_the_torch_backend(mode: str, classes: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = (2 * torch.randn(2, classes, 61, 133)).to(dtype).cuda()
    valid = torch.rand(2, 61, 133, device="cuda") < 0.9
    results = []
    for backend in ("cuda", "torch"):
        leaf = x.clone().requires_grad_()
        value = soft_glcm_entropy(
            leaf, from_logits=True, mode=mode, valid=valid, offsets=OFFSETS, backend=backend
        )
        (1e4 * value.sum()).backward()
        results.append((value, leaf.grad))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-4, atol=1e-5)
    scale = results[1][1].abs().max().clamp_min(1e-12)
    assert ((results[0][1] - results[1][1]).abs().max() / scale) < 2e-2


@pytest.mark.parametrize("classes", [8, 16, 17, 33, 64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_tensor_cores_stay_within_their_rounding(classes: int, dtype: torch.dtype) -> None:
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("no TF32 on this GPU")
    torch.manual_seed(0)
    x = (2 * torch.randn(2, classes, 61, 133)).to(dtype).cuda()
    valid = torch.rand(2, 61, 133, device="cuda") < 0.9
    options = {"from_logits": True, "valid": valid, "offsets": OFFSETS, "normalised": False}
    found, expected = (soft_glcm(x, **options, backend=b) for b in ("cuda-tensor", "cuda"))
    # Two roundings of one part in 2**11 at most, multiplied; and the sums in float32.
    torch.testing.assert_close(found, expected, rtol=2**-10 + 1e-5, atol=0)
    whole = torch.randint(0, 5, x.shape).to(dtype).cuda()
    options["from_logits"] = False
    found, expected = (soft_glcm(whole, **options, backend=b) for b in ("cuda-tensor", "cuda"))
    assert torch.equal(found, expected)


def test_gradcheck() -> None:
    x = torch.randn(1, 3, 4, 5, dtype=torch.float64, device="cuda", requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda z: soft_glcm_entropy(z, from_logits=True, mode="soft"), (x,), nondet_tol=0.0
    )


def test_runs_are_bit_identical() -> None:
    x = torch.randn(4, 8, 256, 320, device="cuda")
    first, second = (soft_glcm(x, from_logits=True) for _ in range(2))
    assert torch.equal(first, second)


def test_work_stays_in_the_order_of_side_streams() -> None:
    stream = torch.cuda.Stream()
    expected = soft_glcm(torch.full((1, 2, 512, 512), 3.0).cuda(), from_logits=False)
    torch.cuda.synchronize()
    for _ in range(20):
        with torch.cuda.stream(stream):
            x = torch.zeros(1, 2, 512, 512, device="cuda")
            torch.cuda._sleep(1_000_000)
            x.fill_(3.0)
            found = soft_glcm(x, from_logits=False)
            x.fill_(-1.0)
            copied = found.clone()
        stream.synchronize()
        assert torch.equal(copied, expected)


def test_under_autocast_sums_stay_float32() -> None:
    x = torch.randn(1, 4, 64, 64, device="cuda", requires_grad=True)
    with torch.autocast("cuda", torch.float16):
        value = soft_glcm_entropy(x.half(), from_logits=True)
    assert value.dtype == torch.float32
    value.sum().backward()
    assert x.grad.isfinite().all()


def test_every_gpu_of_the_machine() -> None:
    for index in range(torch.cuda.device_count()):
        labels = torch.randint(0, 4, (1, 32, 32))
        found = glcm(labels.to(f"cuda:{index}"), levels=4)
        assert found.device.index == index
        torch.testing.assert_close(found.cpu(), glcm(labels, levels=4))


def test_tensors_of_the_cpu_are_refused() -> None:
    with pytest.raises(ArgumentError, match="on cpu"):
        glcm(torch.zeros(1, 4, 4, dtype=torch.uint8), levels=2, backend="cuda")
