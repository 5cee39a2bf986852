"""What centres and offsets must be: from instance maps, after augmentation has moved them.

target = center_targets(numbers, mask, instruments=(1, 2), most=8, sigma=4.0)
target.heat, target.offsets, target.is_counted, target.is_instance
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from trocar.contract.classes import IGNORE_INDEX


class CenterTargets(NamedTuple):
    """Targets of a batch.

    Attributes:
        heat: ``[B,h,w]`` float32, 1 at a centre, falling like a Gaussian.
        offsets: ``[B,2,h,w]`` float32, rows and columns to the centre, pixels; 0 outside.
        is_counted: ``[B,h,w]`` bool, pixels that the heat is learnt on: those whose label is known,
            without instruments of no number.
        is_instance: ``[B,h,w]`` bool, pixels that the offsets are learnt on.
    """

    heat: Tensor
    offsets: Tensor
    is_counted: Tensor
    is_instance: Tensor


@torch.no_grad()
def center_targets(
    numbers: Tensor, mask: Tensor, *, instruments: Sequence[int], most: int, sigma: float
) -> CenterTargets:
    """Centres of mass of the visible pixels of each instance.

    Args:
        numbers: ``[B,h,w]`` integers, 0 for no instance; numbers above ``most`` count as unknown.
        mask: ``[B,h,w]`` int64 class ids.
        instruments: Classes that have instances.
        most: Largest number of an instance.
        sigma: Standard deviation of the Gaussian in pixels.
    """
    height, width = numbers.shape[-2:]
    is_instrument = torch.isin(mask, torch.tensor(list(instruments), device=mask.device))
    known = torch.where(is_instrument & (numbers <= most), numbers.long(), 0)
    rows = torch.arange(height, device=mask.device, dtype=torch.float32)[None, :, None]
    columns = torch.arange(width, device=mask.device, dtype=torch.float32)[None, None]
    heat = torch.zeros(numbers.shape, device=mask.device)
    down, right = torch.zeros_like(heat), torch.zeros_like(heat)
    for number in range(1, int(known.max()) + 1):
        inside = known == number
        pixels = inside.sum(dim=(1, 2), keepdim=True)
        row = (inside * rows).sum(dim=(1, 2), keepdim=True) / pixels.clamp(min=1)
        column = (inside * columns).sum(dim=(1, 2), keepdim=True) / pixels.clamp(min=1)
        squared = (rows - row).square() + (columns - column).square()
        peak = torch.exp(-squared / (2 * sigma**2)) * (pixels > 0)
        heat = torch.maximum(heat, peak)
        down = torch.where(inside, row - rows, down)
        right = torch.where(inside, column - columns, right)
    is_instance = known > 0
    is_counted = (mask != IGNORE_INDEX) & (is_instance | ~is_instrument)
    return CenterTargets(heat, torch.stack([down, right], dim=1), is_counted, is_instance)
