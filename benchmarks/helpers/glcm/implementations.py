"""Implementations of co-occurrence entropy that the benchmark compares.

soft_implementations(torch.randn(1, 3, 8, 8, requires_grad=True), False)[0].run()  # [B]
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from trocar.cuda_kernels import DEFAULT_OFFSETS, glcm_entropy, soft_glcm_entropy


def crops(x: torch.Tensor, offset: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """The two pixels of all pairs: the last two axes cropped by the offset."""
    (dy, dx), (height, width) = offset, x.shape[-2:]
    top, left, bottom, right = max(0, -dy), max(0, -dx), height - max(0, dy), width - max(0, dx)
    return x[..., top:bottom, left:right], x[..., top + dy : bottom + dy, left + dx : right + dx]


def entropy_of(g: torch.Tensor) -> torch.Tensor:
    """Entropy of counts, ``[...,L,L]`` to ``[...]``, in nats."""
    g = g + g.transpose(-1, -2)
    p = g / g.sum((-1, -2), keepdim=True)
    return -(p * p.clamp_min(1e-8).log()).sum((-1, -2))


def soft_naive(z: torch.Tensor) -> torch.Tensor:
    """All outer products, then their sum."""
    entropies = []
    for offset in DEFAULT_OFFSETS:
        first, second = crops(z.softmax(1), offset)
        entropies.append(entropy_of((first[:, :, None] * second[:, None]).sum((-1, -2))))
    return torch.stack(entropies).mean(0)


def soft_unfold(z: torch.Tensor) -> torch.Tensor:
    """Neighbourhoods by unfold, for offsets of distance 1."""
    p = z.softmax(1)
    batch, classes, height, width = p.shape
    around = torch.nn.functional.unfold(p, 3, padding=1).view(batch, classes, 9, height * width)
    pixels, entropies = p.view(batch, classes, -1), []
    for dy, dx in DEFAULT_OFFSETS:
        entropies.append(entropy_of(pixels @ around[:, :, 4 + 3 * dy + dx].transpose(1, 2)))
    return torch.stack(entropies).mean(0)


def soft_einsum(z: torch.Tensor) -> torch.Tensor:
    """One einsum on crops for each offset."""
    p = z.softmax(1)
    pairs = (crops(p, offset) for offset in DEFAULT_OFFSETS)
    entropies = [entropy_of(torch.einsum("bihw,bjhw->bij", *pair)) for pair in pairs]
    return torch.stack(entropies).mean(0)


def hard_scikit_image(labels: torch.Tensor, levels: int) -> torch.Tensor:
    """scikit-image, image by image: ``[B,H,W]`` to ``[B]``."""
    from skimage.feature import graycomatrix

    angles, entropies = np.radians([0, 45, 90, 135]), []
    for image in labels.cpu().numpy():
        p = graycomatrix(image, [1], angles, levels, symmetric=True, normed=True)[:, :, 0]
        entropies.append(-(p * np.log(np.where(p > 0, p, 1))).sum((0, 1)).mean())
    return torch.tensor(entropies)


def hard_numpy(labels: torch.Tensor, levels: int) -> torch.Tensor:
    """NumPy's bincount, image by image and offset by offset: ``[B,H,W]`` to ``[B]``."""
    entropies = []
    for image in labels.cpu().numpy().astype(np.uint16):
        for offset in DEFAULT_OFFSETS:
            first, second = crops(image, offset)
            bins = np.bincount((first * np.uint16(levels) + second).ravel(), minlength=levels**2)
            g = bins.reshape(levels, levels)
            p = (g + g.T) / (2 * g.sum())
            entropies.append(-(p * np.log(np.where(p > 0, p, 1))).sum())
    return torch.tensor(entropies).view(len(labels), -1).mean(1)


def hard_one_hot(labels: torch.Tensor, levels: int) -> torch.Tensor:
    """One einsum on one-hot crops per offset: ``[B,H,W]`` to ``[B]``."""
    hot = torch.nn.functional.one_hot(labels.long(), levels).movedim(-1, 1).float()
    pairs = (crops(hot, offset) for offset in DEFAULT_OFFSETS)
    entropies = [entropy_of(torch.einsum("bihw,bjhw->bij", *pair)) for pair in pairs]
    return torch.stack(entropies).mean(0)


def hard_cupy(labels: torch.Tensor, levels: int) -> torch.Tensor:
    """CuPy's bincount, image by image and offset by offset: ``[B,H,W]`` to ``[B]``."""
    import cupy

    entropies = []
    for image in cupy.from_dlpack(labels).astype(cupy.int32):
        for offset in DEFAULT_OFFSETS:
            first, second = crops(image, offset)
            g = cupy.bincount((first * levels + second).ravel(), minlength=levels**2)
            entropies.append(torch.from_dlpack(g).view(levels, levels).float())
    return entropy_of(torch.stack(entropies).view(len(labels), -1, levels, levels)).mean(1)


@dataclass(frozen=True)
class Implementation:
    """One implementation of a task; `run` returns the entropies, ``[B]``."""

    name: str
    run: Callable[[], torch.Tensor]


def soft_implementations(z: torch.Tensor, compiled: bool) -> list[Implementation]:
    """Forward and backward of the entropy of logits; the gradient is left in ``z.grad``."""

    def trained(function: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[], torch.Tensor]:
        def run() -> torch.Tensor:
            z.grad = None
            value = function(z)
            value.sum().backward()
            return value.detach()

        return run

    def ours(mode: str, backend: str) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda x: soft_glcm_entropy(x, from_logits=True, mode=mode, backend=backend)

    functions = {
        "naive torch, outer products": soft_naive,
        "naive torch, unfold": soft_unfold,
        "einsum on crops": soft_einsum,
        "trocar torch": ours("soft", "torch"),
        "trocar torch, straight-through": ours("straight_through", "torch"),
    }
    if compiled:
        functions["torch.compile of trocar torch"] = torch.compile(ours("soft", "torch"))
        functions["torch.compile of einsum"] = torch.compile(soft_einsum)
    if z.is_cuda:
        functions["trocar cuda"] = ours("soft", "cuda")
        functions["trocar cuda, straight-through"] = ours("straight_through", "cuda")
    return [Implementation(name, trained(function)) for name, function in functions.items()]


def hard_implementations(labels: torch.Tensor, levels: int) -> list[Implementation]:
    """Entropy of label maps, ``[B,H,W]`` uint8."""
    functions: dict[str, Callable[[torch.Tensor, int], torch.Tensor]] = {
        "scikit-image": hard_scikit_image,
        "NumPy bincount": hard_numpy,
        "trocar torch": lambda maps, side: glcm_entropy(maps, levels=side, backend="torch"),
    }
    if levels <= 64:
        functions["naive torch, one-hot"] = hard_one_hot
    if labels.is_cuda:
        if importlib.util.find_spec("cupy") is not None:
            functions["CuPy bincount"] = hard_cupy
        functions["trocar cuda"] = lambda maps, side: glcm_entropy(
            maps, levels=side, backend="cuda"
        )
    return [
        Implementation(name, functools.partial(function, labels, levels))
        for name, function in functions.items()
    ]
