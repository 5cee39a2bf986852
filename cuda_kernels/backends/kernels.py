"""The kernels as a backend.

    KernelBackend("cuda", launcher).soft_counts(logits, None, plan)

The same code drives the GPU and the emulation on the CPU; only the launcher differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from trocar.contract.errors import ArgumentError, BackendError
from trocar.cuda_kernels.backends import launch_plan as plans
from trocar.cuda_kernels.backends.base import HardPlan, SoftPlan
from trocar.cuda_kernels.backends.launch_plan import LaunchShape, Tuning
from trocar.cuda_kernels.backends.torch import compute_dtype
from trocar.cuda_kernels.checks import check_tensor_cores
from trocar.cuda_kernels.offsets import Offset


class Int64(int):
    """A number that the kernel takes as ``long long``; a plain int is an ``int``."""


@dataclass(frozen=True)
class Source:
    """A kernel source with its compile-time choices; each is one binary."""

    file: str
    defines: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Launch:
    """One kernel call; None as an argument is a null pointer."""

    source: Source
    kernel: str
    shape: LaunchShape
    arguments: tuple[Tensor | int | None, ...]
    scratch: tuple[int, ...] = ()
    """Places of the arguments whose content may depend on the order of the threads."""


class Launcher(Protocol):
    """Runs launches in order, after torch's earlier work and before its later work."""

    tuning: Tuning

    def run(self, device: torch.device, launches: Sequence[Launch]) -> None:
        """Run the launches on tensors of this device."""
        ...


_LABELS = {
    torch.uint8: "unsigned char",
    torch.int8: "signed char",
    torch.int16: "short",
    torch.int32: "int",
    torch.int64: "long long",
}
_SCALARS = {
    torch.float32: "float",
    torch.float64: "double",
    torch.float16: "portable::Half",
    torch.bfloat16: "portable::Bfloat16",
}
_COUNTS = {torch.int32: "int", torch.float32: "float", torch.float64: "double"}


class KernelBackend:
    """Plans the launches, allocates the buffers and passes the arguments of every kernel."""

    def __init__(self, name: str, launcher: Launcher, *, tensor_cores: bool = False) -> None:
        """With ``tensor_cores``, soft co-occurrence is summed by ``soft_forward_tensor.cu``."""
        self.name = name
        self._launcher = launcher
        self._tensor_cores = tensor_cores

    def hard_counts(self, labels: Tensor, plan: HardPlan) -> Tensor:
        """Count into int32 by shared-memory histograms."""
        _check_area(labels.shape)
        counts = _counts_buffer(labels, plan)
        self._launcher.run(labels.device, [self._hard(labels.contiguous(), plan, counts)])
        return counts

    def soft_counts(
        self, x: Tensor, valid: Tensor | None, plan: SoftPlan
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Sum outer products, or count the arg-max labels and return them as well."""
        _check_area(x.shape)
        x, mask, real = x.contiguous(), _bytes(valid), compute_dtype(x.dtype)
        batch, classes, height, width = x.shape
        tuning = self._launcher.tuning
        if plan.one_hot:
            labels = torch.empty((batch, height, width), dtype=torch.uint8, device=x.device)
            hard = HardPlan(plan.offsets, classes)
            counts = _counts_buffer(labels, hard)
            argmax = Launch(
                soft_source("soft_backward.cu", x.dtype, classes, plan.from_logits),
                "argmax_labels",
                plans.plan_pixels(x.shape, tuning),
                (x, mask, labels, height, width),
            )
            self._launcher.run(x.device, [argmax, self._hard(labels, hard, counts)])
            return counts.to(real), (labels,)
        source = soft_source("soft_forward.cu", x.dtype, classes, plan.from_logits)
        size, total = real.itemsize, len(plan.offsets)
        sum_source, kernel, add_source = source, "soft_forward", source
        if self._tensor_cores:
            check_tensor_cores(x)
            sum_source = soft_source("soft_forward_tensor.cu", x.dtype, classes, plan.from_logits)
            kernel = "soft_forward_tensor"
            # sum_parts does not depend on the number of classes, so one binary is enough.
            add_source = soft_source("soft_forward.cu", real, 1, from_logits=True)
            shape = plans.plan_soft_tensor(x.shape, plan.offsets, tuning)
        else:
            shape = plans.plan_soft_forward(x.shape, plan.offsets, size, tuning)
        parts = torch.empty(
            (batch, shape.grid[0], total, classes, classes), dtype=real, device=x.device
        )
        sums = torch.empty((batch, total, classes, classes), dtype=real, device=x.device)
        offsets = device_offsets(plan.offsets, x.device)
        cells = total * classes * classes
        self._launcher.run(
            x.device,
            [
                Launch(
                    sum_source,
                    kernel,
                    shape,
                    (x, mask, offsets, parts, height, width, total, *shape.numbers),
                ),
                Launch(
                    add_source,
                    "sum_parts",
                    plans.plan_sum(batch, cells, tuning),
                    (parts, sums, shape.grid[0], cells),
                ),
            ],
        )
        return sums, ()

    def soft_gradient(
        self,
        x: Tensor,
        valid: Tensor | None,
        plan: SoftPlan,
        grad: Tensor,
        saved: tuple[Tensor, ...],
    ) -> Tensor:
        """Gather the gradient of every pixel from its neighbours."""
        x, grad = x.contiguous(), grad.contiguous()
        _, classes, height, width = x.shape
        tuning, size = self._launcher.tuning, grad.dtype.itemsize
        source = soft_source("soft_backward.cu", x.dtype, classes, plan.from_logits)
        result = torch.empty_like(x)
        offsets, total = device_offsets(plan.offsets, x.device), len(plan.offsets)
        if plan.one_hot:
            shape = plans.plan_straight_backward(x.shape, total, size, tuning)
            kernel = "straight_backward"
            second: Tensor | None = saved[0]
        else:
            shape = plans.plan_soft_backward(x.shape, plan.offsets, size, tuning)
            kernel = "soft_backward"
            second = _bytes(valid)
        arguments: tuple[Tensor | int | None, ...] = (
            x,
            second,
            offsets,
            grad,
            result,
            height,
            width,
            total,
            *shape.numbers,
        )
        self._launcher.run(x.device, [Launch(source, kernel, shape, arguments)])
        return result

    def entropy(self, counts: Tensor, *, symmetric: bool) -> Tensor:
        """One block per matrix, then the mean over the offsets."""
        counts = counts.contiguous()
        real = compute_dtype(counts.dtype)
        batch, total, side, _ = counts.shape
        entropies = torch.empty((batch, total), dtype=real, device=counts.device)
        self._launcher.run(
            counts.device,
            [
                Launch(
                    entropy_source(counts.dtype),
                    "entropy_forward",
                    plans.plan_entropy(batch, total, real.itemsize, self._launcher.tuning),
                    (counts, entropies, side, int(symmetric)),
                )
            ],
        )
        return entropies.mean(1)

    def entropy_gradient(self, counts: Tensor, grad: Tensor, *, symmetric: bool) -> Tensor:
        """One block per matrix."""
        counts, grad = counts.contiguous(), grad.contiguous()
        batch, total, side, _ = counts.shape
        result = torch.empty_like(counts)
        self._launcher.run(
            counts.device,
            [
                Launch(
                    entropy_source(counts.dtype),
                    "entropy_backward",
                    plans.plan_entropy(batch, total, counts.dtype.itemsize, self._launcher.tuning),
                    (counts, grad, result, side, int(symmetric)),
                )
            ],
        )
        return result

    def _hard(self, labels: Tensor, plan: HardPlan, counts: Tensor) -> Launch:
        total = len(plan.offsets)
        shape = plans.plan_hard(labels.shape, plan.levels, total, self._launcher.tuning)
        return Launch(
            hard_source(labels.dtype),
            "hard_counts",
            shape,
            (
                labels,
                device_offsets(plan.offsets, labels.device),
                counts,
                *labels.shape[1:],
                total,
                plan.levels,
                int(plan.ignore_index is not None),
                Int64(plan.ignore_index or 0),
                *shape.numbers,
            ),
        )


def hard_source(dtype: torch.dtype) -> Source:
    """The source that counts labels of this dtype."""
    return Source("hard.cu", (("LABEL", _LABELS[dtype]),))


def entropy_source(dtype: torch.dtype) -> Source:
    """The source for the entropy of counts of this dtype."""
    return Source("entropy.cu", (("COUNT", _COUNTS[dtype]),))


def soft_source(file: str, dtype: torch.dtype, classes: int, from_logits: bool) -> Source:
    """The source for scores of this dtype and number of classes."""
    return Source(
        file,
        (
            ("SCALAR", _SCALARS[dtype]),
            ("CLASSES", str(classes)),
            ("FROM_LOGITS", str(int(from_logits))),
        ),
    )


@lru_cache(maxsize=64)
def device_offsets(offsets: tuple[Offset, ...], device: torch.device) -> Tensor:
    """The offsets in device memory, ``[O,2]`` int32; copied once and cached.

    Raises:
        BackendError: They would be copied inside a capture of a CUDA graph, which cannot be.
    """
    if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        raise BackendError(
            "the offsets are not on the GPU yet, and a capture of a CUDA graph cannot copy them",
            remedy="call it once with these offsets before the capture",
        )
    return torch.tensor(offsets, dtype=torch.int32, device=device)


def _counts_buffer(labels: Tensor, plan: HardPlan) -> Tensor:
    shape = (labels.shape[0], len(plan.offsets), plan.levels, plan.levels)
    return torch.zeros(shape, dtype=torch.int32, device=labels.device)


def _bytes(valid: Tensor | None) -> Tensor | None:
    return None if valid is None else valid.contiguous().view(torch.uint8)


def _check_area(shape: torch.Size) -> None:
    height, width = shape[-2:]
    if height * width >= 2**31:
        raise ArgumentError(
            f"an image of {height}x{width} has 2**31 pixels or more, the kernels accept fewer",
            remedy="use backend='torch', or cut the image; the whole batch may have more pixels",
        )
